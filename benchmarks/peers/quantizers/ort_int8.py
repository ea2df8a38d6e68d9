"""Quantises an ONNX file with ONNX Runtime's own tool, in the environment ``onnxruntime`` of ``make peers``.

``python ort_int8.py FP32.onnx INT8.onnx --calibration INPUTS.npy --scale 0.00392 --recommended``

Without ``--recommended`` all is left to the defaults of ``quantize_static``. With it, the file goes through
ONNX Runtime's own pre-processing first, activations are uint8, weights int8 per channel, and ``--leave-out``
stays float. The calibration inputs are uint8 ``[N, 3, H, W]``; the network gets them times ``--scale``.

Source: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process


class Inputs(CalibrationDataReader):  # type: ignore[misc]
    """The calibration inputs, one at a time."""

    def __init__(self, path: Path, name: str, scale: float) -> None:
        self._inputs = iter(np.load(path, mmap_mode="r", allow_pickle=False))
        self._name, self._scale = name, np.float32(scale)

    def get_next(self) -> dict[str, Any] | None:
        """The next input by name; None after the last."""
        pixels = next(self._inputs, None)
        return None if pixels is None else {self._name: pixels[None].astype(np.float32) * self._scale}


def main() -> None:
    """Quantise, and write the file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("source", type=Path, metavar="FP32.onnx")
    parser.add_argument("target", type=Path, metavar="INT8.onnx")
    parser.add_argument("--calibration", type=Path, required=True, metavar="INPUTS.npy")
    parser.add_argument("--scale", type=float, required=True)
    parser.add_argument("--recommended", action="store_true")
    parser.add_argument(
        "--reduce-range", action="store_true", help="weights of 7 bits, for CPUs without VNNI"
    )
    parser.add_argument("--leave-out", metavar="REGEX", help="nodes that stay float")
    args = parser.parse_args()
    model = onnx.load(args.source)
    reader = Inputs(args.calibration, model.graph.input[0].name, args.scale)
    if not args.recommended:
        quantize_static(args.source, args.target, reader)
    else:
        with TemporaryDirectory() as folder:
            prepared = Path(folder, "prepared.onnx")
            quant_pre_process(args.source, prepared)
            names = [node.name for node in onnx.load(prepared).graph.node]
            left_out = [name for name in names if args.leave_out and re.match(args.leave_out, name)]
            quantize_static(
                prepared,
                args.target,
                reader,
                quant_format=QuantFormat.QDQ,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                per_channel=True,
                reduce_range=args.reduce_range,
                nodes_to_exclude=left_out,
            )
    written = onnx.load(args.target)
    onnx.helper.set_model_props(written, {entry.key: entry.value for entry in model.metadata_props})
    onnx.save(written, args.target)


if __name__ == "__main__":
    main()
