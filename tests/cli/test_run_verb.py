"""``edgestill run`` as a script sees it: stdout, stderr, files, exit code."""

import argparse
import io
import json
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rich.console import Console

from edgestill.cli.main import main
from edgestill.cli.options import source_flags
from edgestill.cli.verbs import run as verb
from edgestill.dataset import read_image
from edgestill.errors import DeviceError
from edgestill.files import write_json
from edgestill.manifest import manifest_path
from runtime.decoders import path_choice
from runtime.frames import Frame, open_source


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "street.png"
    path.parent.mkdir()
    cv2.imwrite(str(path), np.full((64, 64, 3), 90, np.uint8))
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
    assert {"time_s", "stages_ms"} <= set(lines[0])
    assert lines[0]["age_ms"] is None  # a file has no capture to be late for
    assert "track_id" not in detection


def test_tracks_and_states_come_with_track(run: Any, clip: Path) -> None:
    _, out, _ = run(clip, "--json-lines", "--track")
    last = json.loads(out.splitlines()[-1])["detections"][0]
    assert (last["track_id"], last["state"]) == (1, "red")


def test_a_video_is_saved_and_named(run: Any, clip: Path, tmp_path: Path) -> None:
    _, out, _ = run(clip, "--save", str(tmp_path / "out.mp4"), "--track")
    assert json.loads(out)["files"] == [str(tmp_path / "out.mp4")]
    assert len(list(open_source(str(tmp_path / "out.mp4")).frames())) == 6


def test_a_saved_video_is_h264_and_says_so(run: Any, clip: Path, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    _, out, _ = run(clip, "--save", str(tmp_path / "out.mkv"))
    assert json.loads(out)["codec"] == "h264"
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert container.streams.video[0].codec_context.name == "h264"


def test_without_pyav_the_fallback_is_told(
    run: Any, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setattr("runtime.sinks.encoders.has_element", lambda _: False)
    code, out, err = run(clip, "--save", str(tmp_path / "out.mp4"))
    assert (code, json.loads(out)["codec"]) == (0, "mp4v")
    assert "pip install av" in err
    code, _, err = run(clip, "--save", str(tmp_path / "out.mkv"))
    assert code == 2
    assert ".mkv needs PyAV" in err


def write_gif(path: Path, times_cs: list[int]) -> None:
    """An animated GIF whose frames begin at these hundredths of a second."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("gif", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "rgb8"
        stream.codec_context.time_base = Fraction(1, 100)
        for i, time_cs in enumerate(times_cs):
            image = np.full((64, 64, 3), 30 * i, np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="bgr24").reformat(format="rgb8")
            frame.pts, frame.time_base = time_cs, Fraction(1, 100)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.mark.parametrize("times", [[0, 10, 20, 220, 230, 240], [0, 4, 8, 300, 304]])
def test_times_and_the_saved_pace_are_those_of_the_stream(run: Any, tmp_path: Path, times: list[int]) -> None:
    write_gif(tmp_path / "vfr.gif", times)
    right = pytest.approx([time_cs / 100 for time_cs in times], abs=1e-3)
    _, out, _ = run(tmp_path / "vfr.gif", "--json-lines", "--track", "--save", str(tmp_path / "out.mp4"))
    assert [json.loads(line)["time_s"] for line in out.splitlines()] == right
    assert [frame.time_s for frame in open_source(tmp_path / "out.mp4").frames()] == right


def test_a_video_that_breaks_off_is_saved_and_a_data_error(run: Any, clip: Path, tmp_path: Path) -> None:
    clip = clip.rename(tmp_path / "in.avi")
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"MJPG"), 5, (64, 64))
    for i in range(20):
        writer.write(np.full((64, 64, 3), 9 * i, np.uint8))
    writer.release()
    data = clip.read_bytes()
    clip.write_bytes(data[: len(data) * 6 // 10])
    code, out, err = run(clip, "--save", str(tmp_path / "out.mp4"))
    result = json.loads(out)
    assert code == 3
    assert (result["complete"], result["files"]) == (False, [str(tmp_path / "out.mp4")])
    assert f"{result['frames']} of 20 frames could be decoded" in result["doubts"][-1]
    assert result["doubts"][-1] in err
    assert 0 < result["frames"] < 17
    assert run(clip, "--json-lines")[0] == 3
    assert run(clip, "--max-frames", "3")[0] == 0


def test_a_whole_video_is_complete(run: Any, clip: Path) -> None:
    result = json.loads(run(clip)[1])
    assert (result["complete"], result["doubts"], result["codec"]) == (True, [], None)


def test_a_video_may_be_saved_into_a_folder(run: Any, clip: Path, tmp_path: Path) -> None:
    _, out, _ = run(clip, "--save", str(tmp_path / "out"))
    assert json.loads(out)["files"] == [str(tmp_path / "out" / "in.mp4")]


def test_an_image_is_saved_as_an_image(run: Any, image: Path, tmp_path: Path) -> None:
    run(image, "--save", str(tmp_path / "out.png"), "--strip", "off")
    drawn = read_image(tmp_path / "out.png")
    assert drawn.shape == (64, 64, 3)
    assert (drawn != 90).any()


def test_a_folder_is_saved_as_a_folder(run: Any, image: Path, tmp_path: Path) -> None:
    run(image.parent, "--save", str(tmp_path / "out"))
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["street.png"]


@pytest.fixture
def two_folders(image: Path) -> Path:
    """Images of one name in the folders a and b."""
    for folder in ("a", "b"):
        (image.parent / folder).mkdir()
        (image.parent / folder / "1.jpg").write_bytes(cv2.imencode(".jpg", read_image(image))[1].tobytes())
    return image.parent


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_equal_names_in_two_folders_are_two_files(
    run: Any, two_folders: Path, tmp_path: Path, force: list[str]
) -> None:
    _, out, _ = run(two_folders / "[ab]" / "*.jpg", "--save", str(tmp_path / "out"), *force)
    files = [tmp_path / "out" / "a" / "1.jpg", tmp_path / "out" / "b" / "1.jpg"]
    assert json.loads(out)["files"] == [str(file) for file in files]
    assert all(file.is_file() for file in files)
    lines = run(two_folders / "[ab]" / "*.jpg", "--json-lines")[1].splitlines()
    assert [json.loads(line)["name"] for line in lines] == ["a/1.jpg", "b/1.jpg"]


@pytest.mark.parametrize("name", ["y" * 247, "y" * 251, "图" * 83, "a:b [c]*?", "100%d", "-x"])
def test_any_file_name_is_saved(run: Any, image: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "any"
    folder.mkdir()
    image.rename(folder / f"{name}.png")
    assert run(folder, "--save", str(tmp_path / "out"))[0] == 0
    assert [p.name for p in (tmp_path / "out").iterdir()] == [f"{name}.png"]


@pytest.mark.parametrize("target", ["x" * 300 + ".png", "x" * 300])
def test_a_name_that_no_file_system_takes_is_two_lines(
    run: Any, image: Path, tmp_path: Path, target: str
) -> None:
    code, _, err = run(image.parent, "--save", str(tmp_path / target))
    assert (code, len(err.splitlines())) == (2, 2)


def test_a_video_with_a_long_name_is_saved(run: Any, clip: Path, tmp_path: Path) -> None:
    clip = clip.rename(tmp_path / ("x" * 253 + ".q"))
    _, out, _ = run(clip, "--save", str(tmp_path / "out"))
    (file,) = json.loads(out)["files"]
    assert Path(file).is_file()


def test_the_sources_below_a_folder_are_never_written_over(run: Any, two_folders: Path) -> None:
    before = (two_folders / "a" / "1.jpg").read_bytes()
    assert run(two_folders / "a*" / "*.jpg", "--save", str(two_folders / "a"), "--force")[0] == 2
    assert run(two_folders / "[ab]" / "*.jpg", "--save", str(two_folders), "--force")[0] == 2
    assert (two_folders / "a" / "1.jpg").read_bytes() == before


def test_a_missing_image_is_told_with_names_like_it(run: Any, image: Path) -> None:
    code, _, err = run(image.with_name("stret.png"))
    assert code == 3
    assert f"did you mean {image}?" in err


def test_a_camera_that_vanishes_keeps_its_recording(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Camera:
        is_live, fps, total, dropped, doubts, broke_off = True, 10.0, None, 0, (), None
        drops, decoder = {}, "fake"

        def frames(self) -> Iterator[Frame]:
            for i in range(31):
                image = np.full((64, 64, 3), 90, np.uint8)
                yield Frame(
                    image_bgr=image, index=i, captured_s=0.0, name="cam", decode_ms=1.0, time_s=i / 10
                )
            raise DeviceError("cam stopped sending", hint="check the cable")

        def close(self) -> None:
            pass

    monkeypatch.setattr("runtime.frames.open_source", lambda *_, **__: Camera())
    code, out, err = run("0", "--save", str(tmp_path / "drive.mp4"), "--json-lines")
    assert code == 5
    assert f"31 frames in 3.0 s: {tmp_path / 'drive.mp4'}" in err
    assert "cam stopped sending" in err
    assert len(out.splitlines()) == 31
    assert len(list(open_source(tmp_path / "drive.mp4").frames())) == 31


def test_the_run_stops_after_so_many_frames(run: Any, clip: Path) -> None:
    assert json.loads(run(clip, "--max-frames", "2")[1])["frames"] == 2


def test_the_other_backend_finds_the_same(run: Any, image: Path) -> None:
    summary = json.loads(run(image, "--backend", "ov", "--threads", "1")[1])
    assert (summary["backend"], summary["detections"]) == ("ov", {"red": 1})


def test_the_decoder_is_named_on_the_terminal_and_in_the_result(run: Any, clip: Path, image: Path) -> None:
    _, out, err = run(clip, "--decoder", "opencv")
    assert f"{clip}: decoded by OpenCV (FFmpeg)" in err
    result = json.loads(out)
    assert (result["decoder"], result["drops"]) == ("OpenCV (FFmpeg)", {})
    assert "decoded by" not in run(image)[2]


def test_a_password_is_in_no_output(run: Any) -> None:
    code, out, err = run("rtsp://me:hidden@127.0.0.1:9/x?password=hidden")
    assert (code, out) == (5, "")
    assert "rtsp://127.0.0.1:9/x?password=*** does not open" in err
    assert "hidden" not in err


def test_the_decoders_of_the_flag_are_those_that_there_are() -> None:
    assert source_flags.DECODERS == path_choice.DECODERS


def test_the_threshold_is_used(run: Any, image: Path) -> None:
    assert json.loads(run(image, "--conf", "0.9")[1])["detections"] == {}


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        pytest.param(["--conf", "2"], 2, "--conf is 2.0", id="conf"),
        pytest.param(["--iou", "-1"], 2, "--iou is -1.0", id="iou"),
        pytest.param(["--max-frames", "0"], 2, "--max-frames is 0", id="max-frames"),
        pytest.param(["--threads", "0"], 2, "--threads is 0", id="threads"),
        pytest.param(["--retry", "-1"], 2, "--retry is -1", id="retry"),
        pytest.param(["--decoder", "pyavv"], 2, "pyavv", id="decoder"),
        pytest.param(["--decoder", "pyav"], 2, "--decoder pyav does not read images", id="decoder of images"),
        pytest.param(["--backend", "orr"], 2, "no backend is called 'orr'", id="backend"),
        pytest.param(["--device", "cuda:x"], 5, "ort has no device 'cuda:x'", id="device"),
        pytest.param(["--device", "cuda:1"], 5, "has no CUDAExecutionProvider", id="no CUDA"),
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
