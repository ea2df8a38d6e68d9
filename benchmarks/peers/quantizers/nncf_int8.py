"""Quantises an OpenVINO file with NNCF. Runs in the environment ``openvino`` of ``make peers``.

``python nncf_int8.py FP32.xml INT8.xml --calibration INPUTS.npy --scale 0.00392 --preset mixed``

The calibration inputs are uint8 ``[N, 3, H, W]``; the network gets them times ``--scale``, as float32.

Source: https://docs.openvino.ai/2025/openvino-workflow/model-optimization-guide/quantizing-models-post-training.html
"""

from __future__ import annotations

import argparse
from pathlib import Path

import nncf
import numpy as np
import openvino as ov


def main() -> None:
    """Quantise, and write the file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("source", type=Path, metavar="FP32.xml")
    parser.add_argument("target", type=Path, metavar="INT8.xml")
    parser.add_argument("--calibration", type=Path, required=True, metavar="INPUTS.npy")
    parser.add_argument("--scale", type=float, required=True)
    parser.add_argument("--preset", choices=["performance", "mixed"], help="default: NNCF's choice")
    parser.add_argument("--leave-out", metavar="REGEX", help="operations that stay float")
    args = parser.parse_args()
    inputs = np.load(args.calibration, mmap_mode="r", allow_pickle=False)
    dataset = nncf.Dataset(inputs, lambda pixels: pixels[None].astype(np.float32) * np.float32(args.scale))
    options = {}
    if args.preset:
        options["preset"] = nncf.QuantizationPreset(args.preset)
    if args.leave_out:
        options["ignored_scope"] = nncf.IgnoredScope(patterns=[args.leave_out])
    model = ov.Core().read_model(args.source)
    quantised = nncf.quantize(model, dataset, subset_size=len(inputs), **options)
    ov.save_model(quantised, args.target, compress_to_fp16=False)


if __name__ == "__main__":
    main()
