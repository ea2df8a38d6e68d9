"""Inputs of the stages that are the same on every machine: a drawn frame, and outputs from a seed.

A trained network's output differs between processors in its last bits, which may add or remove a box. These
outputs come from integers of a seeded generator, with objects that NMS has to thin out.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.instructions.workload import StageInputs
from benchmarks.measure.footage import draw_street
from edgestill.spec import Layout, ModelSpec

FRAMES = 4
OBJECTS, BOXES_OF_OBJECT = 24, 12


def known_inputs() -> dict[str, StageInputs]:
    """By name: a square COCO model of YOLOv5's layout, and a wide one of few classes and YOLOv8's layout."""
    return {
        "coco-640": _inputs((640, 640), 80, "yolov5"),
        "lights-512x896": _inputs((512, 896), 4, "yolov8"),
    }


def _inputs(input_hw: tuple[int, int], nc: int, layout: Layout) -> StageInputs:
    classes = tuple(f"class {k}" for k in range(nc))
    if layout == "yolov5":
        spec = ModelSpec(name="known", input_hw=input_hw, classes=classes)
    else:
        spec = ModelSpec(
            name="known", input_hw=input_hw, classes=classes, head="dfl", anchors_px=(), layout="yolov8"
        )
    frames = [draw_street(4 * k) for k in range(FRAMES)]
    outputs = [_output(k, spec.cells, input_hw, nc) for k in range(FRAMES)]
    if layout == "yolov8":
        outputs = [np.ascontiguousarray(_without_objectness(output).transpose(0, 2, 1)) for output in outputs]
    return StageInputs(spec=spec, dtype="float32", conf=0.25, iou=0.45, frames=frames, outputs=outputs)


def _output(seed: int, rows: int, input_hw: tuple[int, int], nc: int) -> NDArray[np.float32]:
    """Rows cx, cy, w, h, objectness, class probabilities: ``[1, rows, 5 + nc]``; few rows have objects."""
    rng = np.random.default_rng(seed)
    output = (rng.integers(0, 64, (1, rows, 5 + nc)) / 1024).astype(np.float32)  # background: below 0.0625
    at = rng.choice(rows, OBJECTS * BOXES_OF_OBJECT, replace=False)
    for k in range(OBJECTS):
        centre = rng.integers(40, min(input_hw) - 40, 2)
        mine = at[k * BOXES_OF_OBJECT : (k + 1) * BOXES_OF_OBJECT]
        output[0, mine, :2] = centre + rng.integers(-3, 4, (BOXES_OF_OBJECT, 2))
        output[0, mine, 2:4] = 32 + rng.integers(-4, 5, (BOXES_OF_OBJECT, 2))
        output[0, mine, 4] = rng.integers(640, 1024, BOXES_OF_OBJECT) / 1024
        output[0, mine, 5 + k % nc] = rng.integers(640, 1024, BOXES_OF_OBJECT) / 1024
    return output


def _without_objectness(output: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.concatenate([output[..., :4], output[..., 5:] * output[..., 4:5]], axis=-1)
