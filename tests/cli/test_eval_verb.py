"""``edgestill eval``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from rich.console import Console

from edgestill.cli.main import main
from edgestill.cli.verbs import eval as eval_verb


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two 64 x 64 pictures; the light is where the tiny model always finds one."""
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for name in ("one", "two"):
        cv2.imwrite(str(tmp_path / "images" / f"{name}.jpg"), np.zeros((64, 64, 3), np.uint8))
        (tmp_path / "labels" / f"{name}.txt").write_text("0 0.5 0.5 0.25 0.5\n")
    (tmp_path / "data.yaml").write_text("val: images\nnames: [red, green]\n")
    return tmp_path / "data.yaml"


def words(model: Path | str, data: Path, *more: str) -> list[str]:
    return ["eval", str(model), "--data", str(data), "--threads", "1", *more]


def test_a_model_that_is_right_scores_one(
    tiny_model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(tiny_model, data)) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["images"], result["map50"], result["map50_95"]) == (2, 1.0, 1.0)
    assert result["per_class"]["green"] == {"ap50": None, "ap50_95": None, "labels": 0}
    assert result["by_size"]["small"]["labels"] == 2
    assert result["taken_for"]["red"] == {"red": 2, "green": 0, "missed": 0}
    assert result["kind"] == "eval"


def test_a_limit_looks_at_fewer_images(
    tiny_model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(tiny_model, data, "--limit", "1")) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 1


def test_a_person_gets_a_table(tiny_model: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(words(tiny_model, data))
    console = Console(width=120, record=True)
    console.print(eval_verb.show(json.loads(capsys.readouterr().out)))
    text = console.export_text()
    assert "100.0" in text
    assert "Predicted classes" in text
    assert "shorter side 8-16 px" in text
    assert "none (false positives)" in text


def test_no_training_library_is_imported(tiny_model: Path, data: Path) -> None:
    code = (
        f"import sys; from edgestill.cli.main import main; main({words(tiny_model, data)!r}); "
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "ultralytics", "distill"} & set(done.stderr.split())


def break_label(data: Path) -> None:
    (data.parent / "labels" / "two.txt").write_text("0 0.5 0.5 0.25 0.5 0.9\n")


def break_image(data: Path) -> None:
    path = data.parent / "images" / "two.jpg"
    path.write_bytes(path.read_bytes()[:-40])


def more_classes(data: Path) -> None:
    data.write_text("val: images\nnames: [red, green, blue]\n")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(break_label, "two.txt:1 has 6 columns, expected 5", id="six-columns"),
        pytest.param(break_image, "two.jpg is truncated", id="truncated-image"),
        pytest.param(more_classes, "the model has 2 classes and", id="class-count"),
        pytest.param(Path.unlink, "data.yaml does not exist", id="no-data"),
    ],
)
def test_spoilt_data_is_a_data_error(
    spoil: object, message: str, tiny_model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert callable(spoil)
    spoil(data)
    assert main(words(tiny_model, data)) == 3
    assert message in capsys.readouterr().err


def test_a_missing_split_is_a_usage_error(
    tiny_model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(tiny_model, data, "--split", "test")) == 2
    assert "has no split 'test'" in capsys.readouterr().err


def test_a_legacy_file_takes_no_backend(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "yolov5n.pt", "--data", str(data), "--backend", "ort"]) == 2
    assert "is run by torch" in capsys.readouterr().err


def test_a_missing_model_is_an_artifact_error(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words("missing.onnx", data)) == 4
    assert "missing.onnx" in capsys.readouterr().err


def test_an_onnx_that_is_no_model_is_an_artifact_error(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "junk.onnx").write_bytes(b"junk")
    assert main(words(tmp_path / "junk.onnx", data)) == 4
    assert capsys.readouterr().err.count("\n") == 2


# --- a model with other classes than the data


def with_classes(data: Path, names: str, label: str) -> Path:
    data.write_text(f"val: images\nnames: {names}\n")
    for path in (data.parent / "labels").iterdir():
        path.write_text(f"{label} 0.5 0.5 0.25 0.5\n")
    return data


@pytest.mark.parametrize(
    ("names", "proposed"),
    [
        ("[green, red]", "--class-map 'red=red' --class-map 'green=green'"),
        ("[stop, wait, go]", "--class-map 'red=*'"),
    ],
)
def test_other_classes_are_an_error_that_proposes_a_map(
    tiny_model: Path, data: Path, names: str, proposed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(tiny_model, with_classes(data, names, "1"))) == 3
    assert proposed in capsys.readouterr().err


@pytest.mark.parametrize(
    ("names", "label", "flags", "scored"),
    [
        ("[green, red]", "1", ["--class-map", "red=red", "--class-map", "green=green"], {"green", "red"}),
        ("[stop, wait, go]", "0", ["--class-map", "red=stop,wait"], {"red"}),
        ("[light]", "0", ["--class-map", "*=light"], {"light"}),
        ("[stop, wait, go]", "2", ["--single-class"], {"object"}),
    ],
)
def test_a_class_map_scores_what_belongs_together(
    tiny_model: Path,
    data: Path,
    names: str,
    label: str,
    flags: list[str],
    scored: set[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(words(tiny_model, with_classes(data, names, label), *flags)) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["map50"], result["map50_95"], result["labels"]) == (1.0, 1.0, 2)
    assert set(result["per_class"]) == scored == set(result["setting"]["class_map"])


def test_labels_that_a_map_leaves_out_are_a_doubt(
    tiny_model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(tiny_model, with_classes(data, "[stop, wait]", "1"), "--class-map", "red=stop")) == 0
    assert any("wait 2" in doubt for doubt in json.loads(capsys.readouterr().out)["doubts"])


def test_a_map_and_a_single_class_contradict_each_other(tiny_model: Path, data: Path) -> None:
    assert main(words(tiny_model, data, "--single-class", "--class-map", "red=red")) == 2


def test_the_unit_stands_in_the_table_and_in_the_help(
    tiny_model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(words(tiny_model, data))
    console = Console(width=160, record=True)
    console.print(eval_verb.show(json.loads(capsys.readouterr().out)))
    assert "AP50, points" in console.export_text()
    with pytest.raises(SystemExit):
        main(["eval", "--help"])
    assert "JSON holds fractions from 0 to 1" in " ".join(capsys.readouterr().out.split())


# --- safety


def test_safety_sets_models_side_by_side(
    tiny_model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", str(tiny_model), *words(tiny_model, data, "--safety")[1:]]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["kind"] == "safety"
    assert result["lights"] == {"red": 2, "green": 0}
    first, second = result["models"]
    assert first["name"] != second["name"]
    assert (first["red_missed"]["count"], first["red_missed"]["of"]) == (0, 2)
    assert first["red_as_green"]["share"] == 0.0
    assert first["green_as_red"]["share"] is None
    assert second["against_first"] == {"red_newly_missed": 0, "red_newly_found": 0, "p": 1.0}
    assert any("2 red lights" in doubt for doubt in result["doubts"])
    console = Console(width=160, record=True)
    console.print(eval_verb.show(result))
    assert "0 of 2, 0.0 % (0.0 to 84.2)" in console.export_text()


def test_a_higher_threshold_misses_more(
    tiny_model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(tiny_model, data, "--safety", "--conf", "0.999999")) == 0
    (model,) = json.loads(capsys.readouterr().out)["models"]
    assert model["red_missed"]["count"] == 2


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A video of 64 x 64 px; its light is where the tiny model always finds a red one, and turns green."""
    frames = 6
    video = cv2.VideoWriter(str(tmp_path / "a.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 64))
    for _ in range(frames):
        video.write(np.zeros((64, 64, 3), np.uint8))
    video.release()
    box = [24.0, 16.0, 40.0, 48.0]
    truth = {
        "video": "a.avi",
        "width": 64,
        "height": 64,
        "fps": 10,
        "names": ["red", "green"],
        "frames": {str(i): [[int(i >= frames // 2), *box]] for i in range(frames)},
        "ids": {str(i): [1] for i in range(frames)},
    }
    (tmp_path / "a.gt.json").write_text(json.dumps(truth))
    return tmp_path / "a.gt.json"


def test_safety_counts_the_flicker_of_clips(
    tiny_model: Path, data: Path, clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(tiny_model, data, "--safety", "--clip", str(clip))) == 0
    (found,) = json.loads(capsys.readouterr().out)["models"][0]["clips"]
    assert (found["clip"], found["raw"]["false_changes"]) == ("a.avi", 0)
    assert (found["raw"]["right_s"], found["raw"]["green_as_red_s"]) == (0.3, 0.3)
    assert found["smoothed"]["right_s"] < 0.3  # a state is told after two frames


def test_a_clip_of_another_length_is_a_data_error(
    tiny_model: Path, data: Path, clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = json.loads(clip.read_text())
    del truth["frames"]["5"], truth["ids"]["5"]
    clip.write_text(json.dumps(truth))
    assert main(words(tiny_model, data, "--safety", "--clip", str(clip))) == 3
    assert "has 6 frames, and" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--conf", "0.3"], "--clip and --conf belong to --safety"),
        (["--clip", "a.gt.json"], "--clip and --conf belong to --safety"),
        (["--safety", "--single-class"], "--safety knows no class maps"),
        (["--safety", "--class-map", "red=red"], "--safety knows no class maps"),
    ],
)
def test_flags_that_do_not_go_together_are_a_usage_error(
    flags: list[str], message: str, tiny_model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(tiny_model, data, *flags)) == 2
    assert message in capsys.readouterr().err


def test_several_models_belong_to_safety(
    tiny_model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", str(tiny_model), *words(tiny_model, data)[1:]]) == 2
    assert "several stand side by side with --safety" in capsys.readouterr().err


def test_safety_is_for_lights(tiny_model: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(tiny_model, with_classes(data, "[red, blue]", "0"), "--safety")) == 3
    assert "no class is green" in capsys.readouterr().err


@pytest.mark.parametrize("conf", ["-1", "2", "nan"])
def test_a_threshold_that_is_none_is_a_usage_error(
    conf: str, tiny_model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(tiny_model, data, "--safety", "--conf", conf)) == 2
    assert capsys.readouterr().err.count("\n") == 2


def test_safety_imports_no_training_library(tiny_model: Path, data: Path, clip: Path) -> None:
    call = words(tiny_model, data, "--safety", "--clip", str(clip))
    code = (
        f"import sys; from edgestill.cli.main import main; assert main({call!r}) == 0; "
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "ultralytics", "distill", "trackeval", "scipy"} & set(done.stderr.split())
