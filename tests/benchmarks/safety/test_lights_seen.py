"""What becomes of each labelled light, and the figures made of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.report.safety_section import measures
from benchmarks.safety.figures import RARE, against_first, doubts_about, figures_of
from benchmarks.safety.lights_seen import Lights, Seen, colours_of, see_lights
from edgestill.dataset import Dataset
from edgestill.detections import Detections
from edgestill.errors import DataError
from edgestill.spec import ModelSpec
from runtime.metrics.confusion import MISSED

CLASSES = ("red", "yellow", "green", "off")
Row = tuple[tuple[float, float, float, float], float, str]
LEFT, RIGHT, FAR = (20.0, 20.0, 30.0, 40.0), (60.0, 20.0, 70.0, 40.0), (100.0, 60.0, 104.0, 64.0)


class Told:
    """A detector that is told what it finds, in the order of the images."""

    spec = ModelSpec(name="told", input_hw=(32, 32), classes=CLASSES)

    def __init__(self, *images: list[Row]) -> None:
        self._images = iter(images)

    def __call__(self, image_bgr: np.ndarray) -> Detections:
        rows = sorted(next(self._images), key=lambda row: -row[1])
        return Detections(
            np.array([row[0] for row in rows], np.float32).reshape(-1, 4),
            np.array([row[1] for row in rows], np.float32),
            np.array([CLASSES.index(row[2]) for row in rows], np.int64),
        )


def data(
    folder: Path, *images: list[tuple[tuple[float, float, float, float], str]], luma: int = 30
) -> Dataset:
    """Grey images of 128 x 96 px with these labels."""
    for name in ("images", "labels"):
        (folder / name).mkdir()
    for i, rows in enumerate(images):
        cv2.imwrite(str(folder / "images" / f"{i}.png"), np.full((96, 128, 3), luma, np.uint8))
        lines = [
            f"{CLASSES.index(name)} {(x0 + x1) / 256} {(y0 + y1) / 192} {(x1 - x0) / 128} {(y1 - y0) / 96}"
            for (x0, y0, x1, y1), name in rows
        ]
        (folder / "labels" / f"{i}.txt").write_text("\n".join(lines) + "\n")
    (folder / "data.yaml").write_text(f"test: images\nnames: [{', '.join(CLASSES)}]\n")
    return Dataset.open(folder / "data.yaml")


def figures(
    tmp_path: Path, labels: list[tuple[tuple[float, float, float, float], str]], found: list[Row]
) -> dict:
    lights, seen = see_lights({"a": Told(found)}, data(tmp_path, labels), "test")
    return figures_of(lights, seen["a"], CLASSES, colours_of(CLASSES))


def test_a_red_light_with_a_green_box_is_red_seen_as_green(tmp_path: Path) -> None:
    found = figures(tmp_path, [(LEFT, "red"), (RIGHT, "green")], [(LEFT, 0.9, "green"), (RIGHT, 0.8, "red")])
    assert [found[key]["count"] for key in ("red_as_green", "green_as_red", "red_missed")] == [1, 1, 0]
    assert found["taken_for"]["red"] == {"red": 0, "yellow": 0, "green": 1, "off": 0, "missed": 0}


def test_a_box_that_covers_loosely_is_not_a_miss(tmp_path: Path) -> None:
    loose = (20.0, 30.0, 30.0, 50.0)  # IoU 1/3: below what average precision counts
    found = figures(tmp_path, [(LEFT, "red")], [(loose, 0.9, "green")])
    assert (found["red_as_green"]["count"], found["red_missed"]["count"]) == (1, 0)


def test_a_second_green_box_on_a_red_light_is_counted(tmp_path: Path) -> None:
    found = figures(tmp_path, [(LEFT, "red")], [(LEFT, 0.9, "red"), (LEFT, 0.5, "green")])
    assert (found["red_as_green"]["count"], found["red_also_green"]["count"]) == (0, 1)
    assert found["false_green"] == {"count": 1, "images": 1, "per_image": 1.0}


def test_the_light_beside_a_red_one_may_be_green(tmp_path: Path) -> None:
    found = figures(tmp_path, [(LEFT, "red"), (RIGHT, "green")], [(LEFT, 0.6, "red"), (RIGHT, 0.9, "green")])
    assert found["red_also_green"]["count"] == found["false_green"]["count"] == 0


def test_missed_reds_are_told_by_size_and_darkness(tmp_path: Path) -> None:
    found = figures(tmp_path, [(LEFT, "red"), (FAR, "red"), (RIGHT, "green")], [(LEFT, 0.9, "red")])
    assert (found["red_missed"]["count"], found["red_missed"]["of"]) == (1, 2)
    assert found["green_missed"]["count"] == 1
    sides = {name: (one["count"], one["of"]) for name, one in found["red_missed_by_short_side_px"].items()}
    assert sides == {"0-8": (1, 1), "8-16": (0, 1), "16-32": (0, 0), "32+": (0, 0)}
    for key in ("red_missed_by_image_luma", "red_missed_by_surroundings_luma"):
        assert [(one["count"], one["of"]) for one in found[key].values()] == [(1, 2), (0, 0), (0, 0)]


def test_every_light_is_in_one_step_of_size(tmp_path: Path) -> None:
    on_the_limit = (0.0, 0.0, 32.0, 32.0)
    found = figures(tmp_path, [(on_the_limit, "red")], [])
    for key in ("red_missed_by_short_side_px", "red_missed_by_size"):
        assert sum(one["of"] for one in found[key].values()) == 1


def test_detectors_see_the_same_images_and_are_compared_in_pairs(tmp_path: Path) -> None:
    labels = [(LEFT, "red"), (RIGHT, "red"), (FAR, "green")]
    first, other = [(LEFT, 0.9, "red")], [(RIGHT, 0.9, "red"), (FAR, 0.9, "green")]
    dataset = data(tmp_path, labels, labels)
    lights, seen = see_lights({"a": Told(first, first), "b": Told(first, other)}, dataset, "test")
    against = against_first(lights, seen["a"], seen["b"], colours_of(CLASSES))
    assert against == {"red_newly_missed": 1, "red_newly_found": 1, "p": 1.0}


def lights_of(count: int) -> tuple[Lights, Seen]:
    """So many red lights that are all found."""
    lights = Lights(
        images=1,
        true=np.zeros(count, np.int64),
        wh_px=np.full((count, 2), 9.0),
        image_luma=np.full(count, 60.0),
        around_luma=np.full(count, 100.0),
    )
    return lights, Seen(
        seen=np.zeros(count, np.int64), covered=np.zeros((count, 4), bool), false=np.zeros(4, np.int64)
    )


@pytest.mark.parametrize(("count", "is_few"), [(RARE - 1, True), (RARE, False)])
def test_few_red_lights_are_a_doubt(count: int, is_few: bool) -> None:
    doubts = doubts_about(lights_of(count)[0], colours_of(CLASSES), [])
    assert any(f"{count} red lights" in doubt for doubt in doubts) == is_few


def test_no_red_light_at_all_is_said_in_words() -> None:
    lights, seen = lights_of(0)
    found = {"name": "a", "against_first": None, "clips": [], **figures_of(lights, seen, CLASSES, CLASSES)}
    rows = dict(measures({"models": [found]}))
    assert rows["red seen as green"] == ["none there"]
    assert any("no figure" in doubt for doubt in doubts_about(lights, CLASSES, []))


def test_missed_is_no_class() -> None:
    lights, seen = lights_of(3)
    unseen = Seen(seen=np.full(3, MISSED), covered=seen.covered, false=seen.false)
    found = figures_of(lights, unseen, CLASSES, colours_of(CLASSES))
    assert found["taken_for"]["red"] == {"red": 0, "yellow": 0, "green": 0, "off": 0, "missed": 3}
    assert (found["red_missed"]["share"], found["red_missed"]["high"]) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("classes", "colours"),
    [
        (("red", "yellow", "green", "off"), ("red", "yellow", "green", "grey")),
        (("RedLeft", "GreenStraight", "car"), ("red", "green", None)),
        (("traffic_light_rot", "traffic_light_grün"), ("red", "green")),
    ],
)
def test_names_tell_colours(classes: tuple[str, ...], colours: tuple[str | None, ...]) -> None:
    assert colours_of(classes) == colours


@pytest.mark.parametrize("classes", [("red", "amber"), ("go", "green"), ("car",)])
def test_classes_without_red_or_green_are_refused(classes: tuple[str, ...]) -> None:
    with pytest.raises(DataError, match="no class is") as caught:
        colours_of(classes)
    assert "--safety" in str(caught.value.hint)


@pytest.mark.parametrize("make", [lambda: ("red", "green"), lambda: ("green", "yellow", "red", "off")])
def test_a_detector_of_other_classes_is_refused(make: Callable[[], tuple[str, ...]], tmp_path: Path) -> None:
    detector = Told([])
    detector.spec = ModelSpec(name="other", input_hw=(32, 32), classes=make())  # type: ignore[misc]
    with pytest.raises(DataError, match="class"):
        see_lights({"a": detector}, data(tmp_path, [(LEFT, "red")]), "test")
