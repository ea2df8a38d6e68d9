"""Accuracy of a network on the validation splits: the project's letterbox, decode and score, in batches."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from distill.models.yolov5 import Yolov5, fused
from edgestill.dataset import Dataset, read_image
from edgestill.detections import Detections
from edgestill.spec import ModelSpec
from runtime.accuracy import EVAL_CONF, EVAL_IOU, Accuracy, Truth, score
from runtime.decode import decode
from runtime.letterbox import Letterbox, letterbox, to_tensor

BATCH = 8  # more does not run faster on a CPU, and raw maps at full input size are large
Image = NDArray[np.uint8]


class Validation:
    """The validation images of some data sets, read once and kept letterboxed while memory lasts.

    Attributes:
        paths: The images.
        classes: Class names.
        truths: The true boxes of each image, source pixels.
        image_hws: Height and width of each source image.
    """

    def __init__(self, datasets: Sequence[Dataset], spec: ModelSpec, *, cache_mib: int, threads: int) -> None:
        self.paths = [p for dataset in datasets if "val" in dataset.splits for p in dataset.images("val")]
        if not self.paths:
            datasets[0].images("val")  # says what is missing
        self._spec = spec
        self.classes = datasets[0].classes
        self._dataset = datasets[0]
        self._kept: dict[int, Image] = {}
        self.truths: list[Truth] = []
        self.image_hws: list[tuple[int, int]] = []
        room = cache_mib * 2**20 // (3 * spec.input_hw[0] * spec.input_hw[1])
        with ThreadPoolExecutor(threads) as pool:
            for index, (padded, hw) in enumerate(pool.map(self._read, self.paths)):
                labels = self._dataset.labels(self.paths[index])
                self.truths.append(Truth(labels.xyxy_px(hw), labels.class_id))
                self.image_hws.append(hw)
                if index < room:
                    self._kept[index] = padded

    def __len__(self) -> int:
        return len(self.paths)

    def __call__(self, model: Yolov5) -> Accuracy:
        """Score a network in float32, whatever it trains in: what the saved weights score elsewhere."""
        return score(self.detections(model), self.truths, self.classes, self.image_hws)

    def detections(self, model: Yolov5) -> list[Detections]:
        """What a network finds in each image, in source pixels, down to the evaluation's low scores."""
        network = fused(model).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        found: list[Detections] = []
        for start in range(0, len(self), BATCH):
            found += self._detect(network, range(start, min(start + BATCH, len(self))))
        return found

    def _detect(self, network: Yolov5, part: range) -> list[Detections]:
        """Detections of the images at some positions."""
        images = [self._kept[i] if i in self._kept else self._read(self.paths[i])[0] for i in part]
        tensor = torch.from_numpy(np.concatenate([to_tensor(image, self._spec) for image in images]))
        device = next(network.parameters()).device
        with torch.inference_mode():
            out = network.decode(network(tensor.to(device, memory_format=torch.channels_last))).cpu().numpy()
        return [
            decode(
                out[row : row + 1],
                self._spec,
                Letterbox.fit(self.image_hws[i], self._spec.input_hw),
                self.image_hws[i],
                conf=EVAL_CONF,
                iou=EVAL_IOU,
                multi_label=True,
            )
            for row, i in enumerate(part)
        ]

    def _read(self, path: Path) -> tuple[Image, tuple[int, int]]:
        """The letterboxed image, and the height and width of its source."""
        image = read_image(path)
        return letterbox(image, self._spec)[0], (image.shape[0], image.shape[1])
