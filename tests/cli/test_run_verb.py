"""``edgestill run`` as a script sees it: stdout, stderr, files, exit code."""

import argparse
import io
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rich.console import Console

from edgestill.cli.main import main
from edgestill.cli.verbs import run as verb
from edgestill.dataset import read_image
from edgestill.files import write_json
from edgestill.manifest import manifest_path
from runtime.frames import open_source


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "street.png"
    path.parent.mkdir()
    cv2.imwrite(str(path), np.full((64, 64, 3), 90, np.uint8))
    return path


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "in.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 5, (64, 64))
    for _ in range(6):
        writer.write(np.full((64, 64, 3), 90, np.uint8))
    writer.release()
    return path


@pytest.fixture
def run(tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run the verb on the tiny model; exit code, stdout, stderr."""

    def call(source: Path | str, *flags: str, model: Path | str = tiny_model) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["run", str(model), "--source", str(source), *flags])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def test_the_summary_is_json(run: Any, image: Path) -> None:
    code, out, _ = run(image)
    summary = json.loads(out)
    assert code == 0
    assert summary["frames"] == 1
    assert summary["detections"] == {"red": 1}
    assert set(summary["stages_ms"]) == {"decode", "letterbox", "inference", "postprocess"}
    assert (summary["backend"], summary["dropped"], summary["files"]) == ("ort", 0, [])


def test_json_lines_are_one_object_a_frame_and_nothing_else(run: Any, clip: Path) -> None:
    _, out, _ = run(clip, "--json-lines")
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["frame"] for line in lines] == list(range(6))
    (detection,) = lines[0]["detections"]
    assert (detection["class"], detection["class_id"], detection["score"]) == ("red", 0, 0.81)
    assert detection["box"] == [24.0, 16.0, 40.0, 48.0]
    assert {"time_s", "age_ms", "stages_ms"} <= set(lines[0])
    assert "track_id" not in detection


def test_tracks_and_states_come_with_track(run: Any, clip: Path) -> None:
    _, out, _ = run(clip, "--json-lines", "--track")
    last = json.loads(out.splitlines()[-1])["detections"][0]
    assert (last["track_id"], last["state"]) == (1, "red")


def test_a_video_is_saved_and_named(run: Any, clip: Path, tmp_path: Path) -> None:
    _, out, _ = run(clip, "--save", str(tmp_path / "out.mp4"), "--track")
    assert json.loads(out)["files"] == [str(tmp_path / "out.mp4")]
    assert len(list(open_source(str(tmp_path / "out.mp4")).frames())) == 6


def test_a_video_may_be_saved_into_a_folder(run: Any, clip: Path, tmp_path: Path) -> None:
    _, out, _ = run(clip, "--save", str(tmp_path / "out"))
    assert json.loads(out)["files"] == [str(tmp_path / "out" / "in.mp4")]


def test_an_image_is_saved_as_an_image(run: Any, image: Path, tmp_path: Path) -> None:
    run(image, "--save", str(tmp_path / "out.png"))
    drawn = read_image(tmp_path / "out.png")
    assert drawn.shape == (64, 64, 3)
    assert (drawn != 90).any()


def test_a_folder_is_saved_as_a_folder(run: Any, image: Path, tmp_path: Path) -> None:
    run(image.parent, "--save", str(tmp_path / "out"))
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["street.png"]


def test_the_run_stops_after_so_many_frames(run: Any, clip: Path) -> None:
    assert json.loads(run(clip, "--max-frames", "2")[1])["frames"] == 2


def test_the_other_backend_finds_the_same(run: Any, image: Path) -> None:
    summary = json.loads(run(image, "--backend", "ov", "--threads", "1")[1])
    assert (summary["backend"], summary["detections"]) == ("ov", {"red": 1})


def test_the_threshold_is_used(run: Any, image: Path) -> None:
    assert json.loads(run(image, "--conf", "0.9")[1])["detections"] == {}


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        pytest.param(["--conf", "2"], 2, "--conf is 2.0", id="conf"),
        pytest.param(["--iou", "-1"], 2, "--iou is -1.0", id="iou"),
        pytest.param(["--max-frames", "0"], 2, "--max-frames is 0", id="max-frames"),
        pytest.param(["--threads", "0"], 2, "--threads is 0", id="threads"),
        pytest.param(["--backend", "orr"], 2, "no backend is called 'orr'", id="backend"),
        pytest.param(["--trak"], 2, "unknown argument '--trak'", id="flag"),
        pytest.param(["--save", "out.mp4"], 2, "does not suit", id="save"),
    ],
)
def test_a_wrong_wish_is_two_lines(
    run: Any, image: Path, flags: list[str], code: int, message: str, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    got, out, err = run(image, *flags)
    first, second = err.splitlines()
    assert (got, out) == (code, "")
    assert first.startswith("edgestill run: ")
    assert message in first
    assert second.startswith("  hint: ")


def test_a_truncated_image_is_a_data_error(run: Any, image: Path) -> None:
    image.write_bytes(image.read_bytes()[:-16])
    code, _, err = run(image)
    assert code == 3
    assert "is truncated" in err


def test_a_missing_source_is_a_data_error(run: Any, tmp_path: Path) -> None:
    assert run(tmp_path / "x.mp4")[0] == 3


def test_a_missing_model_is_a_model_error(run: Any, image: Path, tmp_path: Path) -> None:
    assert run(image, model=tmp_path / "x.onnx")[0] == 4


def test_a_text_is_no_model(run: Any, image: Path, tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_text("hello")
    code, _, err = run(image, model=tmp_path / "x.onnx")
    assert (code, len(err.splitlines())) == (4, 2)


def test_a_window_without_a_display_is_a_device_error(
    run: Any, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert run(image, "--show")[0] == 5


def test_nothing_is_overwritten_without_force(run: Any, clip: Path, tmp_path: Path) -> None:
    (tmp_path / "out.mp4").write_bytes(b"mine")
    assert run(clip, "--save", str(tmp_path / "out.mp4"))[0] == 2
    assert (tmp_path / "out.mp4").read_bytes() == b"mine"
    assert run(clip, "--save", str(tmp_path / "out.mp4"), "--force")[0] == 0


@pytest.mark.parametrize("place", ["in", "in/street.png"])
def test_the_source_is_never_written_over(run: Any, image: Path, tmp_path: Path, place: str) -> None:
    before = image.read_bytes()
    for source in (image, image.parent, image.parent / "*.png"):
        assert run(source, "--save", str(tmp_path / place), "--force")[0] == 2
    assert image.read_bytes() == before


def test_a_broken_image_leaves_no_half_video(run: Any, clip: Path, tmp_path: Path) -> None:
    clip.write_bytes(clip.read_bytes()[:100])
    assert run(clip, "--save", str(tmp_path / "out.mp4"))[0] == 3
    assert not (tmp_path / "out.mp4").exists()


def test_a_model_that_is_not_the_one_of_its_manifest_is_refused(
    run: Any, image: Path, tiny_model: Path, tmp_path: Path
) -> None:
    model = tmp_path / "tiny.onnx"
    model.write_bytes(tiny_model.read_bytes())
    write_json(manifest_path(model), {"schema": 99})
    assert run(image, model=model)[0] == 4


def test_a_person_gets_a_table(tiny_model: Path, image: Path, tmp_path: Path) -> None:
    for name in ("b.png", "c.png"):
        (image.parent / name).write_bytes(image.read_bytes())
    parser = argparse.ArgumentParser()
    verb.add_arguments(parser)
    words = [str(tiny_model), "--source", str(image.parent), "--save", str(tmp_path / "out"), "--track"]
    result = verb.run(parser.parse_args(words))
    assert result is not None
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(verb.show(result))
    text = console.export_text()
    assert "3 red" in text
    assert f"3 files in {tmp_path / 'out'}" in text
