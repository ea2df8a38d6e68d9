"""What to build: a job, and what each kind of file asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgestill.checkpoint import Checkpoint
from edgestill.quantization import ANY_CPU_RANGE
from edgestill.spec import ModelSpec, Precision, ScoreMap
from edgestill.target import QdqTarget, Target, engine_target, qdq_target
from export.graph.interface import Interface
from export.quantize.calibration.auto_method import MethodTrial
from export.quantize.calibration.images import Calibration
from export.quantize.calibration.range_methods import ONNXRUNTIME, OPENVINO, TENSORRT, Method
from export.quantize.int8 import Int8Settings
from export.quantize.qdq_placement import for_onnxruntime, for_openvino, for_tensorrt
from export.tensorrt.options import EngineOptions
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
#: What belongs to a model file, by its suffix: OpenVINO's weights; the graph that an engine was built from.
BESIDE: Mapping[Target, str] = {"openvino": ".bin", "tensorrt": ".onnx", "tensorrt-rtx": ".onnx"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Job:
    """What to build.

    Attributes:
        checkpoint: The weights, and the spec at the input size that is wanted.
        target: Whose file format.
        precision: What to compute in.
        calibration: Images for INT8's ranges; for FP16, to check its range on; not used for FP32.
        method: How INT8's ranges are found; None for what the family of engines is tuned to.
        trial: Images to choose that method on, in place of naming one.
        recalibration: Images to fit a map of scores on, see ``export.verify.score_calibration``; None for no
            map.
        cache: Folder of statistics of earlier exports; None keeps none.
        engine: How to build an engine; not used for other files.
        interface: How the file takes images and gives boxes.
    """

    checkpoint: Checkpoint
    target: Target
    precision: Precision
    calibration: Calibration | None = None
    method: Method | None = None
    trial: MethodTrial | None = None
    recalibration: HeldOutImages | None = None
    cache: Path | None = None
    engine: EngineOptions = field(default_factory=EngineOptions)
    interface: Interface = field(default_factory=Interface)

    def with_map(self, knots: ScoreMap) -> Job:
        """The same job for a file that carries a map of scores."""
        spec = replace(self.checkpoint.spec, score_map=knots)
        return replace(self, checkpoint=replace(self.checkpoint, spec=spec))

    @property
    def int8(self) -> Int8Settings:
        """How the target takes INT8."""
        return INT8_SETTINGS[qdq_target(self.target)]

    @property
    def doubts(self) -> tuple[str, ...]:
        """What an export of this job does not check."""
        holds_fp16 = {
            "fp32": False,
            "fp16": self.target != "openvino",
            "int8": engine_target(self.target) is not None,
        }
        if holds_fp16[self.precision] and self.calibration is None:
            return ("no image was checked for values beyond the range of FP16: add --verify DATA.yaml",)
        return ()

    @property
    def spec(self) -> ModelSpec:
        """The contract of the file, which is the checkpoint's in the form that is wanted."""
        return self.interface.spec(self.checkpoint.spec)
