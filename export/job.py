"""Export jobs, and the settings of each target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import onnx

from edgestill.checkpoint import Checkpoint
from edgestill.quantization import ANY_CPU_RANGE
from edgestill.spec import LightStateSpec, ModelSpec, ScoreMap
from edgestill.target import FilePrecision, QdqTarget, Target, engine_target, qdq_target
from export.graph.interface import Interface, apply_interface
from export.graph.writer import OPSET
from export.quantize.calibration.auto_method import MethodTrial
from export.quantize.calibration.images import Calibration
from export.quantize.calibration.range_methods import ONNXRUNTIME, OPENVINO, TENSORRT, Method
from export.quantize.int8 import Int8Settings
from export.quantize.qdq_placement import for_onnxruntime, for_openvino, for_tensorrt
from export.tensorrt.options import EngineOptions
from export.tensorrt.profile import Profile, fit
from export.verify.score_calibration import HeldOutImages

SUFFIX: Mapping[Target, str] = {
    "onnx": ".onnx",
    "openvino": ".xml",
    "tensorrt": ".trt.engine",
    "tensorrt-rtx": ".rtx.engine",
}
INT8_SETTINGS: dict[QdqTarget, Int8Settings] = {
    "onnx": Int8Settings(
        target="onnx", placement=for_onnxruntime, tuning=ONNXRUNTIME, weight_limit=ANY_CPU_RANGE
    ),
    "openvino": Int8Settings(
        target="openvino", placement=for_openvino, tuning=OPENVINO, weight_limit=ANY_CPU_RANGE
    ),
    "tensorrt": Int8Settings(target="tensorrt", placement=for_tensorrt, tuning=TENSORRT, float_is_fp16=True),
}
#: What a file of opset 13 lacks, and what is not checked.
FOR_8_2 = (
    "opset 13 is for TensorRT 8.2, which edgestill does not run on: the file has no FP16, no INT8, no uint8 "
    "input and no compact output of free size; what `trtexec --fp16` builds from it is not compared with it"
)
#: Suffix of the second file of a target: OpenVINO's weights; the graph that an engine is built from.
SECOND_SUFFIX: Mapping[Target, str] = {"openvino": ".bin", "tensorrt": ".onnx", "tensorrt-rtx": ".onnx"}


class FileJob(Protocol):
    """What a file is written by: the job of a detector, or of the classifier of light states.

    Attributes:
        target: The target.
        precision: Precision of the computation.
        engine: Options of an engine; not used for other files.
        spec: The spec of the file.
        metadata: The metadata of an OpenVINO file.
        parent_sha256: SHA-256 of what the file is made from.
    """

    @property
    def target(self) -> Target:
        """The target."""

    @property
    def precision(self) -> FilePrecision:
        """Precision of the computation."""

    @property
    def engine(self) -> EngineOptions:
        """Options of an engine; not used for other files."""

    @property
    def spec(self) -> ModelSpec | LightStateSpec:
        """The spec of the file."""

    @property
    def metadata(self) -> Mapping[str, str]:
        """The metadata of an OpenVINO file."""

    @property
    def parent_sha256(self) -> str:
        """SHA-256 of what the file is made from."""

    def fitted(self) -> tuple[FileJob, Profile | None]:
        """The job with shapes that an engine can have, and the engine's profile; None for fixed shapes.

        Raises:
            UsageError: The options of the engine do not fit the shapes of the file.
        """

    def finished(self, model: onnx.ModelProto) -> onnx.ModelProto:
        """The graph of the file, of a graph at the precision."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Job:
    """What to build.

    Attributes:
        checkpoint: The weights, and the spec at the requested input size.
        target: The target.
        precision: Precision of the computation.
        calibration: Images for INT8 ranges; for FP16, to check the range of values; not used for FP32.
        method: Range method of INT8; None for the target's default.
        trial: Images to choose the range method on; None to use ``method``.
        recalibration: Images to fit a score map on, see ``export.verify.score_calibration``; None for no map.
        cache: Folder of tensor statistics of earlier exports; None for no cache.
        engine: Options of an engine; not used for other files.
        interface: Inputs and outputs of the file.
    """

    checkpoint: Checkpoint
    target: Target
    precision: FilePrecision
    calibration: Calibration | None = None
    method: Method | None = None
    trial: MethodTrial | None = None
    recalibration: HeldOutImages | None = None
    cache: Path | None = None
    engine: EngineOptions = field(default_factory=EngineOptions)
    interface: Interface = field(default_factory=Interface)

    def with_score_map(self, score_map: ScoreMap) -> Job:
        """The job with a score map in the spec of the file."""
        spec = replace(self.checkpoint.spec, score_map=score_map)
        return replace(self, checkpoint=replace(self.checkpoint, spec=spec))

    def fitted(self) -> tuple[Job, Profile | None]:
        """The job with the interface that an engine can have, and the engine's profile."""
        interface, profile = fit(self.checkpoint.spec, self.interface, self.engine)
        return replace(self, interface=interface), profile

    def finished(self, model: onnx.ModelProto) -> onnx.ModelProto:
        """A copy of a graph with the job's interface."""
        return apply_interface(model, self.checkpoint.spec, self.interface)

    @property
    def parent_sha256(self) -> str:
        """SHA-256 of the weights."""
        return self.checkpoint.sha256

    @property
    def int8(self) -> Int8Settings:
        """The INT8 settings of the target."""
        return INT8_SETTINGS[qdq_target(self.target)]

    @property
    def doubts(self) -> tuple[str, ...]:
        """What an export of this job does not check or lacks, as sentences."""
        if self.interface.opset != OPSET:
            return (FOR_8_2,)
        holds_fp16 = {
            "fp32": False,
            "fp16": self.target != "openvino",
            "bf16": False,
            "int8": engine_target(self.target) is not None,
        }
        if holds_fp16[self.precision] and self.calibration is None:
            return ("no image was checked for values beyond the range of FP16: add --verify DATA.yaml",)
        return ()

    @property
    def spec(self) -> ModelSpec:
        """The spec of the file: the checkpoint's with the interface of the job."""
        return self.interface.spec(self.checkpoint.spec)

    @property
    def metadata(self) -> Mapping[str, str]:
        """The metadata of an OpenVINO file; those of an ONNX file are set with the interface."""
        return self.interface.metadata(self.checkpoint.spec)
