"""Whether calibration images are of the detector's domain: on how many of them it finds anything.

INT8 ranges are those of the activations on these images. Activations that lead to a confident detection occur
only where there is one, so that images of another domain give ranges that clip them. Calibration takes images
of each size of labelled objects in turn and of backgrounds as one group, see
``export.quantize.calibration.stratify``; so on images of its domain a trained detector finds something on
most of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.verify.compare import Sample, run_detector
from export.verify.comparison import CONFIDENT_SCORE
from export.verify.evidence import DETECTIONS
from export.verify.gate import NothingComparedError
from runtime.detector import open_detector
from runtime.metrics.evaluate import spread

IMAGES = 32
IOU = 0.45  # of NMS, as on a device
LEAST_SHARE = 0.1  # of the images; with fewer, the images are taken for another domain's


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationFindings:
    """What the FP32 model finds on calibration images.

    Attributes:
        images: Images that it was run on, spread evenly over the calibration images.
        images_with_detections: Those with a confident detection.
        detections: Confident detections on all of them.
    """

    images: int
    images_with_detections: int
    detections: int

    @property
    def is_foreign(self) -> bool:
        """Whether there are detections on so few images that the images may be of another domain."""
        return self.images_with_detections < LEAST_SHARE * self.images

    @property
    def doubts(self) -> tuple[str, ...]:
        """The same as a sentence with the figures."""
        if not self.is_foreign:
            return ()
        text = (
            f"the FP32 model has a detection with a score of {CONFIDENT_SCORE:g} or more on "
            f"{self.images_with_detections} of {self.images} calibration images: they may be of another "
            "domain than the detector, and the INT8 ranges come from them"
        )
        return (text,)


def look_for_objects(source: Path, images: Sequence[Path]) -> CalibrationFindings:
    """Run the FP32 model on some of the calibration images.

    Args:
        source: The FP32 ONNX.
        images: The calibration images.
    """
    samples = [Sample(path, None) for path in spread([*images], IMAGES)]
    with closing(open_detector(source, conf=CONFIDENT_SCORE, iou=IOU)) as detector:
        run = run_detector(detector, samples, "detect on calibration images")
    counts = [len(found) for found in run.found]
    return CalibrationFindings(
        images=len(counts), images_with_detections=sum(map(bool, counts)), detections=sum(counts)
    )


def refuse_foreign(
    name: str, findings: CalibrationFindings, calibration: Mapping[str, Any], verify: Mapping[str, Any] | None
) -> None:
    """Refuse a file that was calibrated and compared on one data set where its model finds hardly anything.

    A few detections in images of another domain are false ones. That they are matched proves nothing.

    Args:
        name: Name of the file.
        findings: Of the calibration images.
        calibration: The record of the calibration.
        verify: The record of the comparison; None without one.

    Raises:
        NothingComparedError: It is so, and the labels are no proof either.
    """
    if verify is None or not findings.is_foreign or list(verify["compared_by"]) != [DETECTIONS]:
        return
    if Path(verify["data"]).resolve() != Path(calibration["data"]).resolve():
        return
    if verify["reference_sure"] < LEAST_SHARE * verify["images"]:
        raise NothingComparedError(
            f"{name} was not published: {findings.doubts[0]}; it was compared on the same data set, with "
            f"{verify['reference_sure']} confident detections on {verify['images']} images",
            hint="calibrate and compare on images of the detector's own domain: --calib, --verify DATA.yaml",
        )
