"""Connects QAT with the export that decides what its target quantises."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from edgestill.dataset import Dataset

if TYPE_CHECKING:
    from distill.qat.settings import QatConfig
    from edgestill.checkpoint import Checkpoint
    from edgestill.quantization import PostTraining


def quantise_for_qat(checkpoint: Checkpoint, settings: QatConfig, data: tuple[str, ...]) -> PostTraining:
    """Quantise a network after training for the target of a recipe, as the start of QAT.

    Args:
        checkpoint: The float network.
        settings: The recipe's; ``family`` is set.
        data: The recipe's data sets; the training split of the first is calibrated on, unless ``calib`` names
            another data set.

    Raises:
        DataError: A calibration image is also in an evaluation split.
        UsageError: The data set has no training split.
    """
    from edgestill.cache import cache_folder  # noqa: PLC0415
    from export.graph.detector_graph import DetectorGraph  # noqa: PLC0415
    from export.graph.yolov5 import build_onnx  # noqa: PLC0415
    from export.job import INT8_SETTINGS  # noqa: PLC0415
    from export.quantize.calibration.images import choose_images  # noqa: PLC0415 (brings onnxruntime)
    from export.quantize.calibration.observer_cache import ObservedTensors, observe_cached  # noqa: PLC0415
    from export.quantize.qat_scales import begin  # noqa: PLC0415

    assert settings.family
    graph = DetectorGraph(build_onnx(checkpoint.spec, checkpoint.weights), checkpoint.spec.scale)
    dataset = Dataset.open(Path(settings.calib or data[0]))
    calibration = choose_images(dataset, checkpoint.spec, count=settings.calib_images)
    int8 = INT8_SETTINGS[settings.family]
    observed = ObservedTensors.for_int8(graph, int8.weight_limit)
    statistics = observe_cached(graph.model, observed, calibration, cache_folder("calibration"))
    return begin(graph, statistics, int8, record=asdict(calibration.record))
