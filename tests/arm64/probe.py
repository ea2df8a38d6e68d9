"""What a machine computes of recorded inputs. Copied to the board, where ``tests`` is not installed.

    python probe.py VECTORS.npz FOUND.npz MODEL.onnx...

VECTORS has ``tensors``, float32 ``[N, 3, H, W]``, and ``image_bgr``, uint8 ``[H, W, 3]``. Recorded tensors
are fed, not images: ``cv2.resize`` rounds differently on ARM64 and x86, so a comparison of images would
compare the resizing, too. FOUND has ``machine``, the architecture, ``letterboxed``, the letterboxed image,
and for the k-th model and i-th tensor ``xyxy_k_i``, ``score_k_i`` and ``class_k_i``.
"""

from __future__ import annotations

import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np

from runtime.decode import decode
from runtime.detector import open_detector
from runtime.letterbox import Letterbox, prepare

CONF = 0.1  # lower than in use, so that there are more boxes to compare


def main(vectors: Path, found: Path, models: list[Path]) -> None:
    """Run each model on each tensor, and write the detections."""
    given = np.load(vectors)
    results: dict[str, Any] = {"machine": platform.machine()}
    for k, model in enumerate(models):
        detector = open_detector(model, threads=1)
        spec, backend = detector.spec, detector.backend
        for i, tensor in enumerate(given["tensors"]):
            output = backend.infer({backend.inputs[0].name: tensor[None]})[backend.outputs[0].name]
            fit = Letterbox(scale=1.0, pad_xy=(0.0, 0.0))
            boxes = decode(output, spec, fit, spec.input_hw, conf=CONF, iou=0.45)
            results |= {
                f"xyxy_{k}_{i}": boxes.xyxy,
                f"score_{k}_{i}": boxes.score,
                f"class_{k}_{i}": boxes.class_id,
            }
        results["letterboxed"] = prepare(given["image_bgr"], spec)[0]
        detector.close()
    np.savez(found, **results)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), [Path(name) for name in sys.argv[3:]])
