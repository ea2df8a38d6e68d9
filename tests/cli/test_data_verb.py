"""``edgestill data`` through the door: stdout, stderr, exit codes."""

import json
import shutil
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from edgestill.cli.main import main
from edgestill.dataset import Dataset

SIZE = ["--size", "160x90"]


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What ``data synth`` says; nothing of its files may be changed."""
    out = tmp_path_factory.mktemp("rendered") / "set"
    with redirect_stdout(StringIO()) as told:
        assert main(["data", "synth", "--out", str(out), "--images", "4", "--seed", "2", *SIZE]) == 0
    result: dict[str, Any] = json.loads(told.getvalue())
    return result


@pytest.fixture
def data(rendered: dict[str, Any], tmp_path: Path) -> Path:
    """A copy of it."""
    source = Path(rendered["data_yaml"])
    return Path(shutil.copytree(source.parent, tmp_path / "set")) / source.name


def test_synth_names_what_it_wrote(rendered: dict[str, Any]) -> None:
    assert Dataset.open(Path(rendered["data_yaml"])).classes == ("red", "yellow", "green", "off")
    assert rendered["images"] == {"train": 2, "val": 1, "test": 1}
    assert rendered["seed"] == 2


def test_synth_refuses_to_overwrite(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "synth", "--out", str(data.parent), "--images", "3", *SIZE]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "exists already\n  hint: " in err


@pytest.mark.parametrize(
    "words",
    [
        ["--images", "0"],
        ["--images", "2"],
        ["--images", "3", "--seed", "-1"],
        ["--images", "3", "--size", "big"],
        ["--images", "3", "--size", "10x10"],
        ["--images", "3", "--splits", "0.5,0.6,0.1"],
        ["--images", "3", "--splits", "nan,0.5,0.5"],
        ["--images", "3", "--splits", "most"],
        ["--images", "3", "--workers", "0"],
    ],
)
def test_a_senseless_argument_is_a_usage_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert main(["data", "synth", "--out", str(tmp_path / "set"), *words]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2
    assert not (tmp_path / "set").exists()


def test_check_of_a_rendered_set_is_good(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(data)]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["errors"] == []
    assert sum(split["images"] for split in report["splits"].values()) == 4


def test_check_prints_its_report_and_fails_on_errors(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = next((data.parent / "images/train").iterdir())
    image.write_bytes(image.read_bytes()[:500])
    assert main(["data", "check", str(data)]) == 3
    out, err = capsys.readouterr()
    assert json.loads(out)["error_counts"] == {"image": 1}
    message = [line for line in err.splitlines() if not line.startswith("check:")]
    assert message[0] == f"edgestill data: {data} has 1 error: 1 image"
    assert str(image) in message[1]


def test_check_of_nothing_is_a_data_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(tmp_path / "data.yaml")]) == 3
    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_plots_names_what_it_drew(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["data", "plots", str(data), "--out", str(tmp_path / "plots")]
    assert main(words) == 0
    files = json.loads(capsys.readouterr().out)["files"]
    assert all(Path(path).is_file() for path in files.values())
    assert main(words) == 2
    assert main([*words, "--force"]) == 0


def test_clip_writes_video_and_boxes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "drive.mp4"
    words = ["--seconds", "0.3", "--fps", "10", "--seed", "1"]
    assert main(["data", "clip", "--out", str(out), *words, *SIZE]) == 0
    result = json.loads(capsys.readouterr().out)
    truth = json.loads(Path(result["labels"]).read_text("utf-8"))
    assert out.stat().st_size > 0
    assert (truth["video"], truth["width"], truth["height"]) == ("drive.mp4", 160, 90)
    assert list(truth["frames"]) == ["0", "1", "2"]
    assert all(len(row) == 5 for rows in truth["frames"].values() for row in rows)


def test_a_clip_that_is_no_mp4_is_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "clip", "--out", str(tmp_path / "drive.gif")]) == 2
    assert "ends in .mp4" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["file/drive.mp4", "folder.mp4", "x" * 251 + ".mp4"])
def test_a_clip_that_cannot_be_written_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder.mp4").mkdir()
    assert main(["data", "clip", "--force", "--seconds", "0.2", "--out", str(tmp_path / name), *SIZE]) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 2)
    assert "OpenCV" not in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.mp4"]
