"""Convert ONNX to the two files of OpenVINO IR, with the spec in its metadata."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx
import openvino as ov

from edgestill.errors import DeviceError
from edgestill.target import FilePrecision
from runtime.backends.ov import PRECISION_KEY


def write_openvino(
    model: onnx.ModelProto, metadata: Mapping[str, str], path: Path, precision: FilePrecision
) -> None:
    """Write ``path`` (``.xml``) and the ``.bin`` beside it.

    Args:
        model: The model; Q/DQ pairs become FakeQuantize operations.
        metadata: Stored in ``rt_info``.
        path: The ``.xml`` file.
        precision: FP16 and bf16 store constants as FP16. A bf16 file also names the precision to compute in;
            OpenVINO keeps single operators in FP32.

    Raises:
        DeviceError: bf16 on a CPU without it, where it could be neither proved nor compared.
    """
    core = ov.Core()
    if precision == "bf16":
        if "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise DeviceError(
                "this CPU has no bf16 (AVX512_BF16 or AMX) to prove and compare such a file with",
                hint="export it on a CPU that has it, or take --precision fp16",
            )
        metadata = {**metadata, PRECISION_KEY: "bf16"}
    converted = core.read_model(model.SerializeToString())
    for key, value in metadata.items():
        converted.set_rt_info(value, key.split("."))
    ov.save_model(converted, path, compress_to_fp16=precision in {"fp16", "bf16"})
