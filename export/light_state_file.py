"""Export of the classifier of light states: its FP32 ONNX file is the source of all others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import onnx

from edgestill.errors import ArtifactError
from edgestill.files import sha256_file
from edgestill.progress import say
from edgestill.spec import LIGHT_STATES_KEY, LightStateSpec, Precision
from edgestill.target import Target
from export.artifact import build_target_of, make_files
from export.publish import Check, ExportResult, build_folder, final_path, publish
from export.quantize.fp16 import convert_to_fp16
from export.quantize.variant import Variant
from export.tensorrt.options import EngineOptions
from export.tensorrt.profile import Profile, free_batches
from export.verify.precision_proof import Excluded
from runtime.light_states.classifier import SPEC, open_light_states
from runtime.onnx_guard.model import open_onnx

#: Smallest, optimal and largest number of lights in one run of an engine; more are run in several.
BATCHES = (1, 4, 16)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LightStateJob:
    """What to build; an ``export.job.FileJob``.

    Attributes:
        source: The FP32 ONNX file.
        target: The target.
        precision: FP32 or FP16.
        engine: Options of an engine; not used for other files.
    """

    source: Path
    target: Target
    precision: Precision
    engine: EngineOptions = field(default_factory=EngineOptions)

    def fitted(self) -> tuple[LightStateJob, Profile | None]:
        """The job, and the profile of an engine: the number of crops in a batch is free."""
        shapes = [(batch, 3, *SPEC.input_hw) for batch in free_batches(self.engine, BATCHES)]
        return self, Profile(least=shapes[0], best=shapes[1], most=shapes[2])

    def finished(self, model: onnx.ModelProto) -> onnx.ModelProto:
        """The graph as it is."""
        return model

    @property
    def spec(self) -> LightStateSpec:
        """The spec of the classifier."""
        return SPEC

    @property
    def metadata(self) -> Mapping[str, str]:
        """The states in their order."""
        return SPEC.to_metadata()

    @property
    def parent_sha256(self) -> str:
        """SHA-256 of the FP32 ONNX file."""
        return sha256_file(self.source)

    def variant(self) -> Variant:
        """The graph at the precision; the softmax stays FP32, as it costs nothing."""
        model = open_onnx(self.source)
        if self.precision != "fp16" or self.target == "openvino":  # OpenVINO converts when it writes the file
            return Variant(model)
        names = {node.name for node in model.graph.node if node.op_type != "Softmax"}
        return Variant(convert_to_fp16(model, names, {}).model)


def is_light_states(path: Path) -> bool:
    """Whether a file is an ONNX file that says that it tells the states of lights.

    Raises:
        ArtifactError: It is an ``.onnx`` file, but not a valid one.
    """
    if path.suffix != ".onnx" or not path.is_file():
        return False
    return LIGHT_STATES_KEY in {entry.key for entry in open_onnx(path).metadata_props}


def export_light_states(
    job: LightStateJob, out: Path, name: str, *, check: Check | None, force: bool = False
) -> ExportResult:
    """Build, prove the precision, compare, publish. No file gets its final name unless all steps succeed.

    Args:
        job: What to build.
        out: Output folder.
        name: Name of the files without suffix.
        check: Compares a built file with the FP32 ONNX file; None for no comparison.
        force: Whether existing files may be replaced.

    Raises:
        ArtifactError: The source is no such classifier, or not FP32.
        DeviceError: The engine cannot be built here.
        UsageError: A file exists already, or the options of the engine contradict each other.
        VerificationError: The file has another precision, or differs from its source by more than the limits.
    """
    _check_source(job.source)
    final = final_path(out, name, job.target, force=force)
    build_target = build_target_of(job)
    with build_folder(out) as folder:
        say(f"build {final.name}")
        built = folder / "built" / final.name
        built.parent.mkdir()
        record, compared = make_files(job, build_target, job.variant(), built, Excluded())
        if check is not None:
            record = replace(record, verify=check(compared, job.source))
        return publish(built, record, out, build_target)


def _check_source(path: Path) -> None:
    """Raise ArtifactError unless a file is a classifier in FP32 with a free batch."""
    open_light_states(path, threads=1).close()
    graph = open_onnx(path).graph
    is_single = all(tensor.data_type != onnx.TensorProto.FLOAT16 for tensor in graph.initializer)
    if not is_single or not graph.input[0].type.tensor_type.shape.dim[0].dim_param:
        raise ArtifactError(
            f"{path} is not FP32 with a free batch size: it was exported already",
            hint="export the file that it was made from, or `light-states`",
        )
