"""ONNX to OpenVINO's own two files, with the spec inside."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx
import openvino as ov


def write_openvino(model: onnx.ModelProto, metadata: Mapping[str, str], path: Path, *, half: bool) -> None:
    """Write ``path`` (``.xml``) and the ``.bin`` beside it.

    Args:
        model: The model; Q/DQ pairs become OpenVINO's own.
        metadata: Goes into ``rt_info``.
        path: The ``.xml`` file.
        half: Whether constants are stored as FP16. What they compute in is the runtime's choice.
    """
    converted = ov.Core().read_model(model.SerializeToString())
    for key, value in metadata.items():
        converted.set_rt_info(value, key.split("."))
    ov.save_model(converted, path, compress_to_fp16=half)
