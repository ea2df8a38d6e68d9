"""Anchors that suit the boxes of a data set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from distill.data.auto_anchor import AnchorFit, box_sides, check_anchors, fit, propose, with_anchors
from distill.recipe import Recipe
from distill.recipe_toml import build_recipe
from edgestill.dataset import Dataset
from edgestill.errors import DataError, UsageError
from edgestill.spec import COCO_ANCHORS_PX
from runtime.tiling import Tiling

LIKE_COCO = np.array([pair for level in COCO_ANCHORS_PX for pair in level])


def boxes(least: float, most: float, count: int = 600, seed: int = 0) -> np.ndarray:
    """Upright boxes as lights have them, ``[count, 2]``, of widths between two bounds."""
    rng = np.random.default_rng(seed)
    width = np.exp(rng.uniform(np.log(least), np.log(most), count))
    return np.stack((width, width * rng.uniform(1.8, 3.2, count)), axis=1)


def test_a_fit_by_hand() -> None:
    anchors = np.array([[10.0, 10.0], [40.0, 40.0]])
    # Agreements: 1 and 0.25 (not above the limit); 0.5 and 0.5; 0.2 and 0.05.
    found = fit(np.array([[10.0, 10.0], [20.0, 20.0], [2.0, 10.0]]), anchors, 4.0)
    assert found == AnchorFit(
        bpr=pytest.approx(2 / 3), fitness=pytest.approx(0.5), per_box=pytest.approx(1.0)
    )


def test_anchors_that_suit_stay_and_nothing_is_sought(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distill.data.auto_anchor.propose", None)
    rng = np.random.default_rng(1)
    sides = LIKE_COCO[rng.integers(0, 9, 500)] * rng.uniform(0.5, 2, (500, 2))
    report = check_anchors(sides, COCO_ANCHORS_PX, 4.0, 0)
    assert report.given.bpr == 1.0
    assert (report.anchors_px, report.proposed) == (COCO_ANCHORS_PX, None)


def test_tiny_boxes_get_anchors_that_reach_more_of_them_and_suit_them_better() -> None:
    report = check_anchors(boxes(1.5, 12), COCO_ANCHORS_PX, 4.0, 0)
    assert report.proposed is not None
    assert report.given.bpr < 0.9
    assert report.proposed.bpr > 0.99
    assert report.proposed.fitness > report.given.fitness + 0.2
    assert report.anchors_px == report.proposed_px
    assert [len(level) for level in report.anchors_px] == [3, 3, 3]
    areas = [w * h for level in report.anchors_px for w, h in level]
    assert areas == sorted(areas)
    assert report.tiny > 0


def test_anchors_that_suit_stay_even_if_others_are_asked_for() -> None:
    report = check_anchors(boxes(10, 60), COCO_ANCHORS_PX, 4.0, 0, always=True)
    assert report.proposed is not None
    assert report.proposed.fitness > report.given.fitness
    assert report.anchors_px == COCO_ANCHORS_PX


def test_the_seed_decides() -> None:
    sides = boxes(2, 30)
    one, again, other = (propose(sides, 9, 4.0, seed) for seed in (0, 0, 1))
    assert one.tolist() == again.tolist()
    assert one.tolist() != other.tolist()


def test_evolution_improves_on_k_means(monkeypatch: pytest.MonkeyPatch) -> None:
    sides = boxes(2, 80)
    evolved = fit(sides, propose(sides, 9, 4.0, 0), 4.0).fitness
    monkeypatch.setattr("distill.data.auto_anchor.GENERATIONS", 0)
    assert evolved > fit(sides, propose(sides, 9, 4.0, 0), 4.0).fitness


def test_the_clusters_are_as_good_as_those_of_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    vq = pytest.importorskip("scipy.cluster.vq")
    monkeypatch.setattr("distill.data.auto_anchor.GENERATIONS", 0)
    sides = boxes(3, 80)
    spread = sides.std(axis=0)

    def distortion(centres: np.ndarray) -> float:
        return float((vq.vq(sides / spread, centres)[1] ** 2).sum())

    theirs = vq.kmeans(sides / spread, 9, iter=30)[0]
    assert distortion(propose(sides, 9, 4.0, 0) / spread) < 1.02 * distortion(theirs)


def test_too_few_boxes_are_refused() -> None:
    with pytest.raises(DataError, match="8 boxes of 2 input pixels or more are too few to fit 9 anchors"):
        propose(boxes(5, 6, count=8), 9, 4.0, 0)
    with pytest.raises(DataError, match="0 boxes"):
        check_anchors(np.zeros((0, 2)), COCO_ANCHORS_PX, 4.0, 0)


@pytest.fixture
def tiny_lights(tmp_path: Path) -> Path:
    """Images of 320 x 200 pixels with upright boxes 4 to 10 pixels wide, in a letterbox a quarter of that."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (tmp_path / kind / split).mkdir(parents=True)
        for i in range(6):
            cv2.imwrite(str(tmp_path / "images" / split / f"{i}.png"), np.zeros((200, 320, 3), np.uint8))
            rows = [
                f"0 {x / 320} 0.5 {width / 320} {2.5 * width / 200}"
                for x, width in zip(range(20, 300, 40), rng.uniform(4, 10, 7), strict=True)
            ]
            (tmp_path / "labels" / split / f"{i}.txt").write_text("\n".join(rows))
    (tmp_path / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [light]\n")
    return tmp_path / "data.yaml"


def test_boxes_are_measured_at_the_scale_of_the_letterbox(tiny_lights: Path) -> None:
    dataset = Dataset.open(tiny_lights)
    small, large = (box_sides([dataset], hw, 0) for hw in ((64, 96), (128, 192)))
    assert small.shape == (42, 2)
    np.testing.assert_allclose(large, 2 * small)
    # 96 / 320 = 0.3 of 4 to 10 pixels, times the jitter.
    assert 4 * 0.3 * 0.9 <= small[:, 0].min() <= small[:, 0].max() <= 10 * 0.3 * 1.1
    np.testing.assert_allclose(small[:, 1] / small[:, 0], 2.5, rtol=1e-5)


def test_an_image_that_lies_on_its_side_is_measured_as_it_is_read(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image").new("RGB", (320, 200))
    exif = image.getexif()
    exif[274] = 6
    for kind in ("images", "labels"):
        (tmp_path / kind / "train").mkdir(parents=True)
    image.save(tmp_path / "images" / "train" / "a.jpg", exif=exif)
    (tmp_path / "labels" / "train" / "a.txt").write_text("0 0.5 0.5 0.1 0.1")
    (tmp_path / "data.yaml").write_text("train: images/train\nnames: [light]\n")
    (sides,) = box_sides([Dataset.open(tmp_path / "data.yaml")], (320, 320), 0)
    assert sides[1] / sides[0] == pytest.approx(320 / 200)


def test_a_recipe_gets_them_only_if_it_asks(tiny_lights: Path) -> None:
    recipe = build_recipe("x", {"input_hw": [64, 96], "data": str(tiny_lights)})
    datasets = [Dataset.open(tiny_lights)]
    assert with_anchors(recipe, datasets) is recipe
    asked = replace(recipe, student=replace(recipe.student, auto_anchor=True))
    found = with_anchors(asked, datasets).student.anchors_px
    assert found != COCO_ANCHORS_PX
    assert found == with_anchors(asked, datasets).student.anchors_px
    # In tiles the same boxes are larger, and so are their anchors.
    tiled = with_anchors(replace(asked, tiling=Tiling(columns=3, rows=3, overlap=0.0)), datasets)
    assert tiled.student.anchors_px[2][2][0] > 1.5 * found[2][2][0]
    # Once they suit, they stay.
    settled = replace(asked, student=replace(asked.student, anchors_px=found))
    assert with_anchors(settled, datasets).student.anchors_px == found


def test_an_anchor_free_head_has_none_to_find() -> None:
    with pytest.raises(UsageError, match="head = dfl, which has no anchors"):
        build_recipe("x", {"student": {"auto_anchor": True, "head": "dfl"}})


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_a_training_brings_them_into_the_checkpoint(tiny_lights: Path, plain: Recipe, tmp_path: Path) -> None:
    from distill.checkpoints.native import load
    from distill.train import train

    recipe = replace(
        plain, data=(str(tiny_lights),), batch=2, student=replace(plain.student, auto_anchor=True)
    )
    recipe = replace(recipe, input_hw=(64, 96), tiling=Tiling(columns=2, rows=1))
    train(recipe, tmp_path / "run")
    _, contract, _ = load(tmp_path / "run" / "best")
    assert contract.anchors_px != COCO_ANCHORS_PX
    assert contract.anchors_px == with_anchors(recipe, [Dataset.open(tiny_lights)]).student.anchors_px
    # The same again goes on rather than being another recipe.
    train(recipe, tmp_path / "run", resume=True)
