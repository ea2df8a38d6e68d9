"""``--repair`` and ``--recalibrate`` through the door of ``edgestill export``, and what other verbs show."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from rich.console import Console

from edgestill.cli.main import main
from edgestill.cli.options import recalibrate
from edgestill.cli.verbs import export
from edgestill.spec import ModelSpec
from export.quantize.blocks import PrecisionBlock
from export.quantize.sensitivity import Sensitivity

WORDS = ("export", "student", "--to", "onnx", "--imgsz", "64x96")
PACE = {"ratio": 1.25, "low": 1.2, "high": 1.3, "verdict": "slower", "a_ms": 4.0, "b_ms": 5.0}


@pytest.fixture
def data(tmp_path: Path, draw_light: Callable[[int], Any]) -> Path:
    rng, seeds = np.random.default_rng(0), itertools.count()
    for split in ("train", "val", "test"):
        (tmp_path / "images" / split).mkdir(parents=True)
        for i in range(2):
            noise = rng.integers(0, 255, (48, 64, 3), np.uint8)
            cv2.imwrite(
                str(tmp_path / "images" / split / f"{i}.png"),
                noise if split == "train" else draw_light(next(seeds)),
            )
    path = tmp_path / "data.yaml"
    path.write_text("train: images/train\nval: images/val\ntest: images/test\nnames: [a, b]\n")
    return path


@pytest.fixture
def moves_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first file is refused, the second one passes; blocks stand in the order of the network."""
    asked: list[int] = []

    def failures(*_: object) -> tuple[str, ...]:
        asked.append(1)
        return (
            ("3 lights changed between red and green",) if len(asked) <= 2 else ()
        )  # judged, then described

    def in_order(source: Any, blocks: Sequence[PrecisionBlock], *_: Any) -> tuple[Sensitivity, ...]:
        return tuple(Sensitivity(block=block, error=0.5) for block in blocks)

    monkeypatch.setattr("export.verify.gate.failures", failures)
    monkeypatch.setattr("export.build.rank", in_order)
    monkeypatch.setattr("benchmarks.measure.pace.pace", lambda a, b, source: PACE)
    # The FP32 graph is the reference: torch has its own tests, and costs seconds.
    monkeypatch.setattr(
        "edgestill.cli.verbs.export.find_spec", lambda name: None if name == "torch" else find_spec(name)
    )


@pytest.mark.usefixtures("moves_one")
def test_a_repair_is_told_with_its_picture(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--precision", "int8", "--calib", data, "--repair", "--out", tmp_path / "out")
    assert main([*WORDS, *map(str, words)]) == 0
    out, err = capsys.readouterr()
    told = json.loads(out)
    repair = told["repair"]
    assert repair["needed"]
    assert repair["because"] == ["3 lights changed between red and green"]
    assert repair["moved"] == ["model.0"]
    assert repair["steps"][0]["latency"] == PACE
    assert Path(repair["plot"]).exists()
    assert told["calibration"]["left_float"]["model.0.conv"].startswith("repair")
    kept = json.loads(Path(told["manifest"]).read_text())["repair"]
    assert kept["steps"] == repair["steps"]
    assert "repair: moved model.0: within the limits" in err
    shown = StringIO()
    Console(file=shown, width=240).print(export.show(told))
    assert "model.0 moved, as 3 lights changed" in shown.getvalue()
    assert "1.250 x the latency (1.200 to 1.300)" in shown.getvalue()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--precision", "fp32", "--repair"), 2, "--repair has no blocks to move in fp32 for onnx"),
        (("--precision", "fp16", "--repair"), 2, "--repair needs images to compare on"),
        (("--precision", "fp32", "--recalibrate", "x.yaml"), 2, "--recalibrate has nothing to fit"),
        (("--precision", "fp16", "--recalibrate", "nowhere.yaml"), 3, "nowhere.yaml does not exist"),
    ],
)
def test_what_makes_no_sense_is_told_before_anything_is_built(
    words: tuple[str, ...], code: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*WORDS, *words, "--out", str(tmp_path / "out")]) == code
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("split", "code", "message"),
    [
        (":val", 3, "2 of 2 images of val are also used for verification"),
        (":test", 2, "flatters the test"),
        ("", 3, "images of train: too few to fit a map"),
    ],
)
def test_a_map_is_not_fitted_to_what_judges_it(
    split: str, code: int, message: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--precision", "fp16", "--verify", data, "--recalibrate", f"{data}{split}")
    assert main([*WORDS, *map(str, words), "--out", str(tmp_path / "out")]) == code
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_inspect_shows_the_map_and_run_reports_by_it(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = onnx.load(tiny_model)
    classes = ("red", "green")
    spec = ModelSpec(name="tiny", input_hw=(32, 32), classes=classes, score_map=((0.81, 0.5),))
    onnx.helper.set_model_props(model, spec.to_metadata())
    path = tmp_path / "mapped.onnx"
    onnx.save(model, path)
    cv2.imwrite(str(tmp_path / "x.png"), np.zeros((32, 32, 3), np.uint8))
    assert main(["inspect", str(path)]) == 0
    assert json.loads(capsys.readouterr().out)["spec"]["score_map"] == [[0.81, 0.5]]
    assert main(["run", str(path), "--source", str(tmp_path / "x.png"), "--json-lines"]) == 0
    line = json.loads(capsys.readouterr().out.splitlines()[0])
    assert line["detections"][0]["score"] == pytest.approx(0.5, abs=1e-3)


def test_the_effect_of_a_map_is_a_few_rows() -> None:
    point = {"boxes": 40, "precision": 0.9, "recall": 0.5, "f1": 0.643}
    measure_effect = {
        "conf": 0.25,
        "reference": point,
        "before": {**point, "recall": None},
        "after": point,
        "score_drift_mean": {"before": -0.02, "after": 0.001},
    }
    rows = dict(recalibrate.rows({"score_map": [[0.2, 0.25]]}, {"recalibration": measure_effect}))
    assert rows["score map"] == "0.200 -> 0.25"
    assert rows["at 0.25 without the map"] == "40 boxes, precision 0.900, f1 0.643, score drift -0.0200"
    assert rows["at 0.25 FP32"] == "40 boxes, precision 0.900, recall 0.500, f1 0.643"


def test_a_map_that_could_not_be_fitted_is_a_doubt() -> None:
    fitted = {"images": 3, "split": "val", "score_map": []}
    [doubt] = recalibrate.doubts(fitted)
    assert doubt.startswith("no score map was fitted: the file has too few detections on 3 images of val")
    assert recalibrate.doubts({**fitted, "score_map": [[0.2, 0.25]]}) == recalibrate.doubts(None) == ()
