"""Convert ONNX to the two files of OpenVINO IR, with the spec in its metadata."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx
import openvino as ov


def write_openvino(model: onnx.ModelProto, metadata: Mapping[str, str], path: Path, *, half: bool) -> None:
    """Write ``path`` (``.xml``) and the ``.bin`` beside it.

    Args:
        model: The model; Q/DQ pairs become FakeQuantize operations.
        metadata: Stored in ``rt_info``.
        path: The ``.xml`` file.
        half: Whether constants are stored as FP16. The runtime chooses the precision of the computation.
    """
    converted = ov.Core().read_model(model.SerializeToString())
    for key, value in metadata.items():
        converted.set_rt_info(value, key.split("."))
    ov.save_model(converted, path, compress_to_fp16=half)
