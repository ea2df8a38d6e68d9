"""One export: build in a temporary folder, prove the precision, compare with the source, publish."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import onnx

from edgestill.errors import UsageError, VerificationError
from edgestill.files import refuse_overwrite
from edgestill.progress import say
from edgestill.quantization import QuantizationScheme
from edgestill.target import Target
from export.artifact import build_target_of, make_files, write_graph
from export.graph.detector_graph import DetectorGraph
from export.graph.yolov5 import build_onnx
from export.job import SUFFIX, Job
from export.publish import Check, ExportResult, build_folder, final_path, publish
from export.quantize.blocks import PrecisionBlock
from export.quantize.calibration.auto_method import choose_method
from export.quantize.calibration.domain import CalibrationFindings, look_for_objects, refuse_foreign
from export.quantize.calibration.observer_cache import ObservedTensors, observe_cached
from export.quantize.calibration.range_methods import Method
from export.quantize.fallback import MeasureLatency, TriedBuild, find_fallback
from export.quantize.qat_scales import QatVariants
from export.quantize.sensitivity import rank
from export.quantize.sensitivity_plot import draw, plot_path
from export.quantize.variant import Fp16Variants, Fp32Variants, Int8Variants, Variant, Variants
from export.tensorrt.engine import BuildTarget
from export.verify.gate import BeyondLimitsError
from export.verify.precision_proof import Excluded
from export.verify.score_calibration import ScoreCalibration


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _ExportRun:
    """The state of one export.

    Attributes:
        job: What to build.
        build_target: The library and GPU of an engine; None for other files.
        check: Compares a built file with its source; None for no comparison.
        folder: Temporary folder.
        name: Name of the model file.
        source: Path of the FP32 ONNX.
        variants: Makes the graphs.
        recalibration: Fits the score map; None for no map.
        findings: Of the images that INT8 is calibrated on; None for other precisions and for trained scales.
    """

    job: Job
    build_target: BuildTarget | None
    check: Check | None
    folder: Path
    name: str
    source: Path
    variants: Variants
    recalibration: ScoreCalibration | None
    findings: CalibrationFindings | None

    def attempt(self, excluded: Sequence[PrecisionBlock] = ()) -> TriedBuild:
        """Build the file with some blocks at a higher precision, prove its precision, compare it."""
        variant = self.variants.make(excluded)
        job, fitted = self._with_score_map(variant)
        built = self.folder / f"built-{len(excluded)}" / self.name
        built.parent.mkdir()
        exempt = Excluded(
            layers=len(variant.excluded_convolutions),
            elements=sum(block.elements for block in excluded),
        )
        record, compared = make_files(job, self.build_target, variant, built, exempt)
        record = replace(record, recalibration=fitted, calibration=self._with_findings(record.calibration))
        try:
            if self.check is not None:
                record = replace(record, verify=self.check(compared, self.source))
            refusal = None
        except BeyondLimitsError as error:
            refusal = error
        if self.findings is not None:
            refuse_foreign(self.name, self.findings, record.calibration or {}, record.verify)
        return TriedBuild(path=built, record=record, compared=compared, refusal=refusal)

    def _with_findings(self, calibration: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """The record of a calibration, with what the model finds on its images and the doubts about both."""
        if calibration is None or self.findings is None:
            return None if calibration is None else dict(calibration)
        doubts = [*self.findings.doubts, *calibration.get("trial", {}).get("doubts", ())]
        return {**calibration, "found": asdict(self.findings), "doubts": doubts}

    def _with_score_map(self, variant: Variant) -> tuple[Job, dict[str, Any] | None]:
        """The job with the score map for a graph, and the record of the map."""
        if self.recalibration is None:
            return self.job, None
        path = _write_trial(variant, self.job, self.source.with_name("unmapped"))
        knots, fitted = self.recalibration.fit(path)
        return self.job.with_score_map(knots), fitted

    def fall_back(
        self, first: TriedBuild, source: onnx.ModelProto, measure: MeasureLatency
    ) -> tuple[TriedBuild, Path | None]:
        """A build within the limits, and the plot of the sensitivities."""
        variants, images = self.variants, self.variants.calibration
        if images is None or not variants.blocks:
            raise VerificationError(
                f"{self.name} exceeds its limits, and no block of it can be moved to a higher precision",
                hint="name images with --calib; FP32 and FP16 of OpenVINO have no higher precision",
            )
        ranking = rank(source, variants.blocks, variants.only, images)
        made = find_fallback(first, ranking, self.attempt, measure)
        plot = draw(made.candidate.path, self.folder, ranking, made.moved)
        record = {**made.record, "plot": plot.name if plot else None}
        return replace(made.candidate, record=replace(made.candidate.record, repair=record)), plot


def export(
    job: Job,
    out: Path,
    name: str,
    *,
    check: Check | None,
    force: bool = False,
    repair_with: MeasureLatency | None = None,
) -> ExportResult:
    """Build, prove the precision, compare, publish. No file gets its final name unless all steps succeed.

    Args:
        job: What to build.
        out: Output folder.
        name: Name of the files without suffix.
        check: Compares a built file with its source; None for no comparison.
        force: Whether existing files may be replaced.
        repair_with: Measures the latency of a repair, see ``export.quantize.fallback``; None refuses a file
            that exceeds the limits.

    Raises:
        ArtifactError: The checkpoint does not fit its spec.
        DeviceError: The engine cannot be built here.
        UsageError: A file exists already, INT8 has no calibration images, or the target does not support the
            interface.
        VerificationError: The file has another precision, or differs from its source by more than the limits.
    """
    final = final_path(out, name, job.target, force=force)
    if repair_with:
        refuse_overwrite(plot_path(final), force=force)
    job.interface.check(job.target, job.precision)
    build_target = build_target_of(job)
    with build_folder(out) as folder:
        say(f"build {final.name}")
        spec = job.checkpoint.spec
        graph = DetectorGraph(build_onnx(spec, job.checkpoint.weights), spec.scale)
        source_path = folder / "source.onnx"
        source_path.write_bytes(graph.model.SerializeToString(deterministic=True))
        run = _ExportRun(
            job=job,
            build_target=build_target,
            check=check,
            folder=folder,
            name=final.name,
            source=source_path,
            variants=_variants(graph, source_path, job),
            recalibration=ScoreCalibration(job.recalibration, source_path) if job.recalibration else None,
            findings=_findings(job, source_path),
        )
        made, plot = run.attempt(), None
        if made.refusal and repair_with is None:
            raise made.refusal
        if made.refusal and repair_with:
            made, plot = run.fall_back(made, graph.model, repair_with)
        return publish(made.path, made.record, out, build_target, plot)


def _findings(job: Job, source_path: Path) -> CalibrationFindings | None:
    """What FP32 finds on the images that INT8 ranges come from; None where no range does."""
    if job.precision != "int8" or job.checkpoint.scheme is not None or job.calibration is None:
        return None
    found = look_for_objects(source_path, job.calibration.paths)
    for doubt in found.doubts:
        say(doubt)
    return found


def _variants(graph: DetectorGraph, source_path: Path, job: Job) -> Variants:
    """The graphs at the requested precision."""
    if job.precision == "int8" and job.checkpoint.scheme is not None:
        return _qat(graph, job, job.checkpoint.scheme)
    if job.precision == "int8":
        return _int8(graph, source_path, job)
    if job.precision == "fp16" and job.target != "openvino":
        return _fp16(graph, job)
    return Fp32Variants(graph.model)  # OpenVINO converts constants to FP16 when it writes the file


def _int8(graph: DetectorGraph, source_path: Path, job: Job) -> Variants:
    calibration = job.calibration
    if calibration is None:
        raise UsageError("INT8 needs images to calibrate on", hint="add --calib DATA.yaml")
    settings = job.int8
    observed = ObservedTensors.for_int8(graph, settings.weight_limit)
    statistics = observe_cached(graph.model, observed, calibration, job.cache)

    def variants(method: Method, record: Mapping[str, Any]) -> Variants:
        tuned = replace(settings, tuning=replace(settings.tuning, method=method))
        return Int8Variants(graph, statistics, tuned, calibration=calibration, chosen=record)

    def write(method: Method) -> Path:
        return _write_trial(variants(method, {}).make(), job, source_path.with_name(method))

    method, record = job.method or settings.tuning.method, {}
    if job.trial is not None:
        method, record["trial"] = choose_method(job.trial, source_path, write, settings.tuning.method)
    return variants(method, record)


def _qat(graph: DetectorGraph, job: Job, scheme: QuantizationScheme) -> Variants:
    images, settings, statistics = job.calibration, job.int8, None
    if images is not None and settings.float_is_fp16:
        observed = ObservedTensors(histograms=graph.observed_tensors())
        statistics = observe_cached(graph.model, observed, images, job.cache)
    made = QatVariants(graph, scheme, settings, calibration=images, statistics=statistics)
    say(f"the scales are those trained for {scheme.family}")
    return made


def _write_trial(variant: Variant, job: Job, stem: Path) -> Path:
    """Write a graph to evaluate it before the final file: as OpenVINO, else as ONNX, also for an engine."""
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
