"""A stage that runs on stored inputs, and nothing else: the process whose instructions are counted.

``python -m benchmarks.instructions.workload FILE.npz STAGE COUNT`` runs the stage on ``COUNT`` frames. The
model does not run: its outputs are in the file. Collecting garbage is switched off, and OpenCV has one
thread, so that a process does the same each time.
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgestill.spec import ModelSpec
from runtime.decode import LIMIT, decode
from runtime.letterbox import InputBuffer, Letterbox

STAGES = ("letterbox", "postprocess")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StageInputs:
    """What the stages of one model run on.

    Attributes:
        spec: Input size, classes and layout of the model.
        dtype: dtype of the network's input.
        conf: Score threshold.
        iou: IoU threshold of NMS.
        frames: Images uint8 ``[H, W, 3]`` BGR.
        outputs: The network's output for each of them, ``[1, ...]``.
    """

    spec: ModelSpec
    dtype: str
    conf: float
    iou: float
    frames: Sequence[NDArray[np.uint8]]
    outputs: Sequence[NDArray[Any]]

    def save(self, path: Path) -> None:
        """Write them as ``.npz``."""
        facts = {"spec": self.spec.to_json(), "dtype": self.dtype, "conf": self.conf, "iou": self.iou}
        arrays: dict[str, Any] = {f"frame{k}": frame for k, frame in enumerate(self.frames)}
        arrays |= {f"output{k}": output for k, output in enumerate(self.outputs)}
        np.savez(path, facts=np.array(json.dumps(facts)), **arrays)

    @classmethod
    def load(cls, path: Path) -> StageInputs:
        """Read what ``save`` wrote."""
        with np.load(path, allow_pickle=False) as stored:
            facts = json.loads(str(stored["facts"]))
            count = sum(name.startswith("frame") for name in stored.files)
            frames = [stored[f"frame{k}"] for k in range(count)]
            outputs = [stored[f"output{k}"] for k in range(count)]
        facts["spec"] = ModelSpec.from_json(facts["spec"])
        return cls(frames=frames, outputs=outputs, **facts)


def stage_of(name: str, inputs: StageInputs) -> Callable[[int], object]:
    """A function that runs a stage on one of the frames, by its number, as ``runtime.detector`` runs it."""
    spec = inputs.spec
    if name == "letterbox":
        buffer = InputBuffer(spec, inputs.dtype)
        return lambda k: buffer.fill([inputs.frames[k]], 1)
    sizes = [(frame.shape[0], frame.shape[1]) for frame in inputs.frames]
    fits = [Letterbox.fit(source_hw, spec.input_hw) for source_hw in sizes]
    return lambda k: decode(
        inputs.outputs[k], spec, fits[k], sizes[k], conf=inputs.conf, iou=inputs.iou, limit=LIMIT
    )


def main() -> None:
    """Run a stage as the command line says."""
    path, stage, count = sys.argv[1:]
    cv2.setNumThreads(1)
    inputs = StageInputs.load(Path(path))
    run = stage_of(stage, inputs)
    gc.disable()
    for number in range(int(count)):
        run(number % len(inputs.frames))


if __name__ == "__main__":
    main()
