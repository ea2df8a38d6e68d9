"""One export: build in a folder of its own, prove, compare, and publish only what passed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx

from edgestill.errors import UsageError, VerificationError
from edgestill.files import refuse_overwrite
from edgestill.manifest import Manifest, manifest_path, write_manifest
from edgestill.progress import say
from edgestill.quantization import QuantizationScheme
from edgestill.target import Target
from export.artifact import build_target_of, engine_doubts, make_files, parts, write_graph
from export.graph.detector_graph import DetectorGraph
from export.graph.yolov5 import build_onnx
from export.job import BESIDE, SUFFIX, Job
from export.quantize.blocks import PrecisionBlock
from export.quantize.calibration.auto_method import choose_method
from export.quantize.calibration.observer_cache import ObservedTensors, observe_cached
from export.quantize.calibration.range_methods import Method
from export.quantize.fallback import MeasureLatency, TriedBuild, repair
from export.quantize.qat_scales import QatVariants
from export.quantize.sensitivity import rank
from export.quantize.sensitivity_plot import draw, plot_path
from export.quantize.variant import Fp16Variants, Fp32Variants, Int8Variants, Variant, Variants
from export.tensorrt.engine import BuildTarget
from export.verify.gate import BeyondLimitsError
from export.verify.precision_proof import Excluded
from export.verify.score_calibration import ScoreCalibration

#: Compares a built file with its source, given it and the source as FP32 ONNX; raises VerificationError.
Check = Callable[[Path, Path], Mapping[str, Any] | None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExportResult:
    """What was published.

    Attributes:
        files: The model file first, then what belongs to it.
        manifest: The record of it, which lies beside it.
        record: Its content.
        doubts: What speaks against the file though it was published.
        plot: The picture of a repair's sensitivities; None without a repair, or without matplotlib.
    """

    files: tuple[Path, ...]
    manifest: Path
    record: Manifest
    doubts: tuple[str, ...] = ()
    plot: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _ExportRun:
    """One export at work.

    Attributes:
        job: What to build.
        build_target: Where an engine is built; None for other files.
        check: Compares a built file with its source.
        folder: For what is built on the way.
        name: Of the model file.
        source: The FP32 ONNX.
        variants: Makes the graphs.
        recalibration: Fits the map of scores; None for none.
    """

    job: Job
    build_target: BuildTarget | None
    check: Check | None
    folder: Path
    name: str
    source: Path
    variants: Variants
    recalibration: ScoreCalibration | None

    def attempt(self, excluded: Sequence[PrecisionBlock] = ()) -> TriedBuild:
        """Build the file without some blocks, prove its precision, compare it."""
        variant = self.variants.make(excluded)
        job, fitted = self._recalibrated(variant)
        built = self.folder / f"built-{len(excluded)}" / self.name
        built.parent.mkdir()
        left_out = Excluded(
            layers=len(variant.left_float),
            elements=sum(block.elements for block in excluded),
        )
        record, judged = make_files(job, self.build_target, variant, built, left_out)
        record = replace(record, recalibration=fitted)
        try:
            if self.check is not None:
                record = replace(record, verify=self.check(judged, self.source))
            refusal = None
        except BeyondLimitsError as error:
            refusal = error
        return TriedBuild(path=built, record=record, judged=judged, refusal=refusal)

    def _recalibrated(self, variant: Variant) -> tuple[Job, dict[str, Any] | None]:
        """The job with the map of scores for a graph, and where that comes from."""
        if self.recalibration is None:
            return self.job, None
        path = _written(variant, self.job, self.source.with_name("as-it-is"))
        knots, fitted = self.recalibration.fit(path)
        return self.job.with_map(knots), fitted

    def repaired(
        self, first: TriedBuild, source: onnx.ModelProto, pace: MeasureLatency
    ) -> tuple[TriedBuild, Path | None]:
        """The file that holds the limits, and the picture of the sensitivities."""
        variants, images = self.variants, self.variants.calibration
        if images is None or not variants.blocks:
            raise VerificationError(
                f"{self.name} is beyond its limits, and nothing of it can be moved to a higher precision",
                hint="name images with --calib; an FP32 file and OpenVINO's FP16 have no other to move to",
            )
        ranking = rank(source, variants.blocks, variants.only, images)
        made = repair(first, ranking, self.attempt, pace)
        drawn = draw(made.candidate.path, self.folder, ranking, made.moved)
        record = {**made.record, "plot": drawn.name if drawn else None}
        return replace(made.candidate, record=replace(made.candidate.record, repair=record)), drawn


def export(
    job: Job,
    out: Path,
    name: str,
    *,
    check: Check | None,
    force: bool = False,
    repair_with: MeasureLatency | None = None,
) -> ExportResult:
    """Build, prove, compare, publish. Nothing appears under its final name unless all of it went well.

    Args:
        job: What to build.
        out: Folder of the result.
        name: The files' name without suffix.
        check: Compares the file with its source.
        force: Whether files of that name may be replaced.
        repair_with: Repair a file that is beyond the limits, see ``export.quantize.fallback``, and measure
            with this what that costs; None refuses the file.

    Raises:
        ArtifactError: The checkpoint does not fit its spec.
        DeviceError: An engine was asked for that cannot be built here.
        UsageError: The result exists already, INT8 was asked for without images, or a file of the target
            cannot have the form.
        VerificationError: The file is of another precision, or differs too much from its source.
    """
    final = out / f"{name}{SUFFIX[job.target]}"
    beside = [final.with_suffix(BESIDE[job.target])] if job.target in BESIDE else []
    beside += [plot_path(final)] if repair_with else []
    for path in (final, *beside, manifest_path(final)):
        refuse_overwrite(path, force=force)
    job.interface.check(job.target, job.precision)
    build_target = build_target_of(job)
    with _build_folder(out) as folder:
        say(f"build {final.name}")
        spec = job.checkpoint.spec
        graph = DetectorGraph(build_onnx(spec, job.checkpoint.weights), spec.scale)
        source_path = folder / "source.onnx"
        source_path.write_bytes(graph.model.SerializeToString(deterministic=True))
        shop = _ExportRun(
            job=job,
            build_target=build_target,
            check=check,
            folder=folder,
            name=final.name,
            source=source_path,
            variants=_variants(graph, source_path, job),
            recalibration=ScoreCalibration(job.recalibration, source_path) if job.recalibration else None,
        )
        made, drawn = shop.attempt(), None
        if made.refusal and repair_with is None:
            raise made.refusal
        if made.refusal and repair_with:
            made, drawn = shop.repaired(made, graph.model, repair_with)
        files = parts(made.path)
        # The model file is last but for its manifest: who sees it sees its weights too.
        written = [drawn] if drawn else []
        for path in [*written, *reversed(files), write_manifest(made.path, made.record)]:
            path.replace(out / path.name)
    return ExportResult(
        files=tuple(out / p.name for p in files),
        manifest=manifest_path(final),
        record=made.record,
        doubts=() if build_target is None else engine_doubts(build_target, made.record),
        plot=out / drawn.name if drawn else None,
    )


@contextmanager
def _build_folder(out: Path) -> Iterator[Path]:
    """A folder on the same disk as the result; a folder that was made for nothing goes away again."""
    is_new = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".export-", dir=out))
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error.strerror}", hint="name another --out") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
        if is_new and not any(out.iterdir()):
            out.rmdir()


def _variants(graph: DetectorGraph, source_path: Path, job: Job) -> Variants:
    """The graphs at the precision that was asked for."""
    if job.precision == "int8" and job.checkpoint.scheme is not None:
        return _trained(graph, job, job.checkpoint.scheme)
    if job.precision == "int8":
        return _int8(graph, source_path, job)
    if job.precision == "fp16" and job.target != "openvino":
        return _fp16(graph, job)
    return Fp32Variants(
        graph.model
    )  # OpenVINO halves the stored constants itself and computes as the device likes


def _int8(graph: DetectorGraph, source_path: Path, job: Job) -> Variants:
    calibration = job.calibration
    if calibration is None:
        raise UsageError("INT8 needs images to calibrate on", hint="add --calib DATA.yaml")
    settings = job.int8
    observed = ObservedTensors.for_int8(graph, settings.weight_limit)
    statistics = observe_cached(graph.model, observed, calibration, job.cache)

    def by(method: Method, tried: Mapping[str, Any]) -> Variants:
        tuned = replace(settings, tuning=replace(settings.tuning, method=method))
        return Int8Variants(graph, statistics, tuned, calibration=calibration, chosen=tried)

    def write(method: Method) -> Path:
        return _written(by(method, {}).make(), job, source_path.with_name(method))

    method, tried = job.method or settings.tuning.method, {}
    if job.trial is not None:
        method, tried["trial"] = choose_method(job.trial, source_path, write, settings.tuning.method)
    return by(method, tried)


def _trained(graph: DetectorGraph, job: Job, scheme: QuantizationScheme) -> Variants:
    images, settings, statistics = job.calibration, job.int8, None
    if images is not None and settings.float_is_fp16:
        observed = ObservedTensors(histograms=graph.observed_tensors())
        statistics = observe_cached(graph.model, observed, images, job.cache)
    made = QatVariants(graph, scheme, settings, calibration=images, statistics=statistics)
    say(f"scales are those that were trained for {scheme.family}")
    return made


def _written(variant: Variant, job: Job, stem: Path) -> Path:
    """A file to look at before the final one: OpenVINO's, or ONNX, from which engines are built too."""
    target: Target = "openvino" if job.target == "openvino" else "onnx"
    path = stem.with_name(f"{stem.name}{SUFFIX[target]}")
    write_graph(variant.model, replace(job, target=target), path)
    return path


def _fp16(graph: DetectorGraph, job: Job) -> Variants:
    if job.calibration is None:
        return Fp16Variants(graph, None, None)
    observed = ObservedTensors(histograms=graph.observed_tensors())
    return Fp16Variants(
        graph, observe_cached(graph.model, observed, job.calibration, job.cache), job.calibration
    )
