"""How crops of signal heads vary in training: place of the box, size, exposure, camera."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from distill.data.camera_effects import CameraEffects, through_camera
from distill.light_states.labelled_heads import Head
from runtime.light_states.crops import crop_heads

CAMERA = CameraEffects(exposure=0.4, white_balance=0.4, haze=0.15, glare=0.1, blur=0.25, noise=0.3, jpeg=0.3)
SHIFT = 0.12  # of the box's sides: how far its centre moves
SCALE = (0.82, 1.3)  # of the box's sides
SMALL = 0.5  # probability that the head is made smaller
SMALL_PX = (5.0, 40.0)  # longer side it then has at least
OVEREXPOSED = 0.25  # probability of a lamp that saturates the sensor
GAIN = (1.5, 5.0)  # of an overexposure, in linear light
PARTIAL = 0.2  # probability that the box holds a part of the head, with the lit lamp anywhere in it
PARTIAL_LONG = (0.4, 0.8)  # of the head's longer side
UPSIDE_DOWN = 0.05  # probability: a horizontal head with red at the right looks so


def vary(head: Head, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A random crop of a head, as inference would cut it; uint8 ``[40, 20, 3]`` BGR."""
    image, box = _smaller(head, rng) if rng.random() < SMALL else (head.image_bgr, head.xyxy)
    if rng.random() < OVEREXPOSED:
        image = _overexpose(image, box, rng)
    if rng.random() < PARTIAL:
        box = _part_with_lamp(image, box, rng)
    image = through_camera(image, CAMERA, rng)
    crop = crop_heads(image, _jitter(box, rng)[None])[0]
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    if rng.random() < UPSIDE_DOWN:
        crop = crop[::-1]
    return np.ascontiguousarray(crop)


def _jitter(box: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    sides = box[2:] - box[:2]
    centre = (box[:2] + box[2:]) / 2 + sides * rng.uniform(-SHIFT, SHIFT, 2)
    half = sides * rng.uniform(*SCALE, 2) / 2
    return np.asarray(np.concatenate((centre - half, centre + half)), np.float32)


def _part_with_lamp(
    image: NDArray[np.uint8], box: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.float32]:
    """A part of a box around its brightest spot; the box itself where the bright pixels are scattered.

    It stands for heads of one or two lamps, which are rare in the data: there, the place of a lamp says
    nothing, and its colour must do.
    """
    left, top, right, bottom = (int(side) for side in (*np.floor(box[:2]), *np.ceil(box[2:])))
    value = image[max(top, 0) : bottom, max(left, 0) : right].max(axis=2)
    axis = int(value.shape[0] < value.shape[1])  # 0: vertical
    places = np.argwhere(value >= np.quantile(value, 0.97))[:, axis] + 0.5
    length = value.shape[axis]
    if places.std() > 0.1 * length:
        return box
    window = length * rng.uniform(*PARTIAL_LONG)
    low, high = max(0.0, places.max() + 1 - window), min(length - window, places.min() - 1)
    start = rng.uniform(low, high) if low < high else np.clip(places.mean() - window / 2, 0, length - window)
    part: NDArray[np.float32] = box.copy()
    offset = (max(top, 0), max(left, 0))[axis]
    part[1 - axis], part[3 - axis] = offset + start, offset + start + window
    return part


def _smaller(head: Head, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    longer = float((head.xyxy[2:] - head.xyxy[:2]).max())
    scale = float(np.exp(rng.uniform(*np.log(SMALL_PX)))) / longer
    if scale >= 1:
        return head.image_bgr, head.xyxy
    height, width = (max(2, round(side * scale)) for side in head.image_bgr.shape[:2])
    image = cv2.resize(head.image_bgr, (width, height), interpolation=cv2.INTER_AREA)
    ratio = np.array([width / head.image_bgr.shape[1], height / head.image_bgr.shape[0]] * 2, np.float32)
    return np.asarray(image, np.uint8), head.xyxy * ratio


def _overexpose(
    image: NDArray[np.uint8], box: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Brighten until the lamp saturates, with a halo of the light that the sensor could not hold."""
    linear = (image.astype(np.float32) / 255) ** 2.2 * np.float32(np.exp(rng.uniform(*np.log(GAIN))))
    sigma = max(0.5, float((box[2:] - box[:2]).max()) * rng.uniform(0.05, 0.15))
    halo = cv2.GaussianBlur(np.maximum(linear - 0.8, 0), (0, 0), sigma)
    bloomed = np.clip(linear + rng.uniform(0.3, 1.0) * halo, 0, 1) ** np.float32(1 / 2.2)
    return np.asarray(bloomed * 255, np.uint8)
