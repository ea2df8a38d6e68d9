"""The check of an exported classifier of light states against its source, on labelled lights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgestill.dataset import Dataset, read_image, say_remarks
from edgestill.errors import DataError, VerificationError
from edgestill.progress import track
from edgestill.spec import Precision
from export.verify.evidence import CONFIDENCE, LEAST_DETECTIONS, LOSS
from export.verify.source_check import default_split
from runtime.light_states.classifier import STATES, LightStatesOfFrame, open_light_states
from runtime.metrics.evaluate import spread

REFERENCE = "FP32 ONNX of the classifier"
NOTHING_HINT = "compare on images with labelled lights: --verify DATA.yaml"
FAULT = "this is a fault of the exporter: report it with the file"


@dataclass(frozen=True, slots=True, kw_only=True)
class StateLimits:
    """The largest differences at which a file is published.

    Attributes:
        max_difference: Of a probability, absolute.
        max_differ: Share of the lights whose state differs, less one light: a probability may be at the
            threshold of ``unknown``. None may change between red and green.
    """

    max_difference: float
    max_differ: float


LIMITS: Mapping[Precision, StateLimits] = {
    "fp32": StateLimits(max_difference=0.001, max_differ=0.001),
    "fp16": StateLimits(max_difference=0.01, max_differ=0.01),
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelledLights:
    """The lights that a file is compared on.

    Attributes:
        dataset: The data set.
        split: The split of it.
        images: Some of its images, spread evenly.
    """

    dataset: Dataset
    split: str
    images: Sequence[Path]

    @classmethod
    def open(cls, data: Path, split: str | None, *, limit: int | None = None) -> LabelledLights:
        """Find the images of a data set; arguments as those of ``EvaluationSet.open``.

        Raises:
            DataError: The data set cannot be read, or none of its classes is a state.
            UsageError: It has no such split.
        """
        dataset = Dataset.open(data)
        if not set(dataset.classes) & set(STATES):
            raise DataError(
                f"{data} has the classes {', '.join(dataset.classes)[:80]}: none is a state of a light",
                hint=f"label lights as {', '.join(STATES[:-1])}",
            )
        split = split or default_split(dataset)
        return cls(dataset=dataset, split=split, images=spread(dataset.images(split), limit))

    def states(self, file: Path, *, device: str | None = None) -> LightStatesOfFrame:
        """What a classifier's file says of all lights, one run for each image; an engine runs on a device."""
        state, probability = [np.zeros(0, np.int64)], [np.zeros((0, len(STATES)), np.float32)]
        device = device if file.suffix == ".engine" else None
        with closing(open_light_states(file, device=device)) as classifier:
            for path in track(self.images, f"run {file.name}", len(self.images)):
                found = classifier(image := read_image(path), self._boxes(path, image))
                state.append(found.state)
                probability.append(found.probability)
        say_remarks(self.dataset)
        return LightStatesOfFrame(np.concatenate(state), np.concatenate(probability))

    def _boxes(self, path: Path, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        labels = self.dataset.labels(path)
        is_light = [self.dataset.classes[class_id] in STATES for class_id in labels.class_id]
        xyxy = labels.xyxy_px((image.shape[0], image.shape[1])).astype(np.float32)
        return np.asarray(xyxy[np.asarray(is_light, bool)], np.float32)


class LightStateCheck:
    """Compares built files with the FP32 ONNX file.

    Args:
        lights: The lights.
        precision: What the files compute in; it sets the limits.
        device: The GPU of engines, see ``runtime.backend.open_backend``.
    """

    def __init__(self, lights: LabelledLights, precision: Precision, *, device: str | None = None) -> None:
        self._lights, self._limits, self._device = lights, LIMITS[precision], device

    def __call__(self, built: Path, source: Path) -> dict[str, Any]:
        """Compare one file.

        Args:
            built: The file, with its manifest where it is an engine.
            source: The FP32 ONNX file.

        Returns:
            The comparison for the manifest, as plain JSON data.

        Raises:
            VerificationError: The file differs from its source by more than the limits, or the images have no
                labelled light.
        """
        reference = self._lights.states(source)
        candidate = self._lights.states(built, device=self._device)
        record = {
            "reference": REFERENCE,
            "data": str(self._lights.dataset.path),
            "split": self._lights.split,
            "images": len(self._lights.images),
            **compare_states(reference, candidate),
            "limits": asdict(self._limits),
        }
        if beyond := failures(record, self._limits):
            what = f"{built.name} was not published: {'; '.join(beyond)}"
            raise VerificationError(what, hint=FAULT if record["lights"] else NOTHING_HINT)
        return {**record, "failures": [], "doubts": _doubts(record["lights"])}


def compare_states(reference: LightStatesOfFrame, candidate: LightStatesOfFrame) -> dict[str, Any]:
    """Compare what two files say of the same lights; plain JSON data."""
    apart = np.abs(candidate.probability - reference.probability)
    pairs = zip(reference.state.tolist(), candidate.state.tolist(), strict=True)
    changed = Counter(f"{STATES[one]} -> {STATES[other]}" for one, other in pairs if one != other)
    return {
        "lights": len(reference.state),
        "difference_max": float(apart.max()) if apart.size else None,
        "difference_mean": float(apart.mean()) if apart.size else None,
        "changed": dict(sorted(changed.items())),
        "red_green_swaps": changed["red -> green"] + changed["green -> red"],
    }


def failures(compared: Mapping[str, Any], limits: StateLimits) -> list[str]:
    """The limits that a comparison of ``compare_states`` exceeds, as sentences."""
    lights = compared["lights"]
    if not lights:
        return ["nothing was compared: the images have no labelled light"]
    found, changed = [], sum(compared["changed"].values())
    if not compared["difference_max"] <= limits.max_difference:  # NaN fails the comparison
        found.append(
            f"a probability differs by {compared['difference_max']:.4f}, the limit is {limits.max_difference}"
        )
    if changed > limits.max_differ * lights + 1:
        found.append(
            f"{changed} of {lights} states differ, the limit is {limits.max_differ:.1%} and one more"
        )
    if compared["red_green_swaps"]:
        found.append(f"{compared['red_green_swaps']} lights changed between red and green")
    return found


def _doubts(lights: int) -> list[str]:
    """What too few lights leave open, as sentences."""
    if lights >= LEAST_DETECTIONS:
        return []
    count = f"the comparison has {lights} light{'s' * (lights != 1)}"
    bound = f"a loss of {LOSS:.0%} of them with {CONFIDENCE:.0%} confidence"
    return [f"{count}: {LEAST_DETECTIONS} are needed to exclude {bound}; compare on more images"]
