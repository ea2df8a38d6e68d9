"""TensorRT engines of the ONNX models of a bundle, built on the device that will run them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import onnx

from edgestill.errors import VerificationError
from edgestill.files import sha256_file
from edgestill.progress import say
from edgestill.spec import ModelSpec, Precision
from edgestill.target import Target, without_bf16
from export.artifact import build_target_of, make_files
from export.bundle.contents import ENGINES, INSTALLED, BundledModel
from export.bundle.parity import ParityResult, check_parity
from export.graph.interface import Interface
from export.publish import ExportResult, build_folder, final_path, publish
from export.quantize.variant import Variant
from export.tensorrt.options import EngineOptions
from export.tensorrt.profile import Profile, fit
from export.verify.precision_proof import Excluded
from runtime.backend import open_backend
from runtime.detector import open_detector, read_detector
from runtime.onnx_guard.model import open_onnx


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GraphJob:
    """What to build; an ``export.job.FileJob`` for a finished graph.

    Attributes:
        source: The ONNX file.
        precision: Precision of its graph.
        spec: Its spec.
        interface: Its input and output.
        target: The target.
        engine: Options of the engine.
    """

    source: Path
    precision: Precision
    spec: ModelSpec
    interface: Interface
    target: Target = "tensorrt"
    engine: EngineOptions = field(default_factory=EngineOptions)

    @classmethod
    def read(cls, source: Path, precision: Precision) -> GraphJob:
        """The job of an ONNX file.

        Raises:
            ArtifactError: It is broken, or no detector.
        """
        with closing(open_backend(source, threads=1)) as backend:
            spec = read_detector(source, backend)[1]
            shape = backend.inputs[0].shape
        height = shape[1] if spec.pixels == "uint8" else shape[2]
        interface = Interface(
            output="compact" if spec.layout == "compact" else "raw",
            pixels=spec.pixels,
            batch=shape[0],
            free_hw=height is None,
        )
        return cls(source=source, precision=precision, spec=spec, interface=interface)

    def fitted(self) -> tuple[GraphJob, Profile | None]:
        """The job, and the profile of the engine; None for fixed shapes."""
        return self, fit(self.spec, self.interface, self.engine)[1]

    def finished(self, model: onnx.ModelProto) -> onnx.ModelProto:
        """The graph as it is."""
        return model

    @property
    def metadata(self) -> Mapping[str, str]:
        """The metadata of an OpenVINO file."""
        return self.spec.to_metadata()

    @property
    def parent_sha256(self) -> str:
        """SHA-256 of the ONNX file."""
        return sha256_file(self.source)


def build_engine(folder: Path, model: BundledModel) -> tuple[ExportResult, ParityResult]:
    """Build the engine of a model of an installed bundle; with other outputs than expected it is not kept.

    Args:
        folder: The folder of the bundle.
        model: The model, an ``.onnx`` file.

    Raises:
        ArtifactError: TensorRT cannot read the graph.
        DeviceError: There is no GPU or TensorRT, or the GPU does not support the precision.
        VerificationError: The engine has another precision, or other outputs.
    """
    out = folder / INSTALLED / ENGINES
    job = GraphJob.read(folder / model.file, without_bf16(model.precision))
    final = final_path(out, model.name, job.target, force=True)
    target = build_target_of(job)
    variant = Variant(open_onnx(job.source), _calibration(job.source))
    excluded = Excluded(layers=len(variant.excluded_convolutions))
    with build_folder(out) as temporary:
        say(f"build {final.name}")
        built = temporary / "built" / final.name
        built.parent.mkdir()
        record, _ = make_files(job, target, variant, built, excluded)
        with closing(open_detector(built)) as detector:
            parity = check_parity(detector, folder / model.parity, model.limits)
        if parity.failures:
            raise VerificationError(
                f"{final.name} was not published: {'; '.join(parity.failures)}",
                hint="`sh run.sh verify` says whether the ONNX file gives the expected outputs here",
            )
        record = replace(record, verify={"parity": asdict(parity)})
        return publish(built, record, out, target), parity


def _calibration(source: Path) -> dict[str, Any] | None:
    """The calibration record that the bundle has beside a model."""
    path = source.with_name("calibration.json")
    if not path.exists():
        return None
    record: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return record
