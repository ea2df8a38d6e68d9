"""``--tile`` of ``run``, ``eval`` and ``bench``, and ``data anchors``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rich.console import Console

from edgestill.cli import data_anchors
from edgestill.cli.main import main


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine images of 64 x 64 with a red in the middle of each quarter, and its label."""
    root = tmp_path_factory.mktemp("scenes")
    for kind in ("images", "labels"):
        (root / kind / "train").mkdir(parents=True)
    rows = [f"0 {x} {y} 0.125 0.25" for x in (0.25, 0.75) for y in (0.25, 0.75)]
    for i in range(9):
        cv2.imwrite(str(root / "images" / "train" / f"{i}.png"), np.zeros((64, 64, 3), np.uint8))
        (root / "labels" / "train" / f"{i}.txt").write_text("\n".join(rows))
    (root / "data.yaml").write_text("train: images/train\nnames: [red, green]\n")
    return root


def result(capsys: pytest.CaptureFixture[str], *words: str | Path) -> dict[str, Any]:
    """The result of a verb."""
    assert main(list(map(str, words))) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_run_finds_more_in_tiles(tiny_model: Path, scenes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", tiny_model, "--source", scenes / "images" / "train" / "0.png", "--threads", "1"]
    # The model finds a red in the middle of whatever it is shown.
    assert result(capsys, *words)["detections"] == {"red": 1}
    tiled = result(capsys, *words, "--tile", "2x2", "--tile-overlap", "0")
    assert tiled["detections"] == {"red": 5}
    assert tiled["tile"] == "2x2"


def test_eval_scores_what_is_found_in_tiles(
    tiny_model: Path, scenes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["eval", tiny_model, "--data", scenes / "data.yaml", "--split", "train", "--threads", "1"]
    whole = result(capsys, *words)
    tiled = result(capsys, *words, "--tile", "2x2", "--tile-overlap", "0")
    assert whole["map50"] == 0
    assert tiled["per_class"]["red"]["ap50"] > 0.5
    assert (whole["setting"]["tile"], whole["setting"]["tile_overlap"]) == ("1x1", None)
    assert (tiled["setting"]["tile"], tiled["setting"]["tile_overlap"]) == ("2x2", 0.0)
    assert {k: v["labels"] for k, v in tiled["by_short_side_px"].items()} == {
        "0-8": 36,
        "8-16": 36,  # of exactly 8 pixels: both bounds count
        "16-32": 0,
        "32+": 0,
    }


@pytest.mark.slow
def test_bench_measures_a_model_with_and_without_tiles(
    tiny_model: Path, scenes: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.measure.cold.RUNS", 1)
    picture = scenes / "images" / "train" / "0.png"
    short = ["--duration-s", "0", "--min-samples", "8", "--warmup-s", "0", "--threads", "1", "--interleave"]
    tiles = ["--tile", "1x1", "--tile", "2x1", "--tile-overlap", "0.25"]
    found = result(capsys, "bench", tiny_model, "--source", picture, *short, *tiles)
    whole, tiled = found["models"]
    assert (whole["name"], tiled["name"]) == ("tiny.onnx", "tiny.onnx tile 2x1")
    assert (whole["tile"], tiled["tile"]) == ("1x1", "2x1")
    assert (whole["detections_per_frame"], tiled["detections_per_frame"]) == (1, 3)
    assert tiled["cold_start_ms"] is not None
    assert found["interleaved"] is True
    assert {ratio["b"] for ratio in found["ratios"]} == {tiled["name"]}
    assert "--tile 1x1 --tile 2x1 --tile-overlap 0.25" in found["command"]


@pytest.mark.parametrize("verb", ["run", "eval", "bench"])
def test_what_is_no_grid_is_told_before_a_model_is_loaded(
    verb: str, scenes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = {
        "run": ["--source", str(scenes / "images" / "train")],
        "eval": ["--data", str(scenes / "data.yaml"), "--split", "train"],
        "bench": [],
    }
    assert main([verb, "missing.onnx", *words[verb], "--tile", "640"]) == 2
    assert "--tile 640 is not COLUMNSxROWS" in capsys.readouterr().err


def test_anchors_are_judged_and_proposed(scenes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["data", "anchors", scenes / "data.yaml"]
    suit = result(capsys, *words, "--imgsz", "128")
    assert suit["given"]["bpr"] == 1
    assert suit["anchors_px"] == suit["given_px"]
    tiny = result(capsys, *words, "--imgsz", "32")
    assert (tiny["boxes"], tiny["given"]["bpr"], tiny["proposed"]["bpr"]) == (36, 1, 1)
    assert tiny["setting"].startswith("student.anchors_px=[[[")
    tiled = result(capsys, *words, "--imgsz", "32", "--tile", "2x2", "--tile-overlap", "0")
    assert tiled["proposed_px"][0][0][0] > 1.5 * tiny["proposed_px"][0][0][0]
    console = Console(width=220, record=True)
    console.print(data_anchors.show(suit))
    assert "the given ones are kept" in console.export_text()
