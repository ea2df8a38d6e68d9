"""``edgestill run`` with several sources, as a script sees it."""

import argparse
import io
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rich.console import Console

from edgestill.cli.main import main
from edgestill.cli.verbs import run as verb
from edgestill.errors import DeviceError
from runtime.frames import Frame, open_source


def write_clip(path: Path, frames: int) -> Path:
    path.parent.mkdir(exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 5, (64, 64))
    for i in range(frames):
        writer.write(np.full((64, 64, 3), 10 * i, np.uint8))
    writer.release()
    return path


@pytest.fixture
def clips(tmp_path: Path) -> list[Path]:
    """Two clips of one name, of 6 and 4 frames."""
    return [write_clip(tmp_path / "in1" / "drive.mp4", 6), write_clip(tmp_path / "in2" / "drive.mp4", 4)]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of two images."""
    (tmp_path / "my.frames").mkdir()
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(tmp_path / "my.frames" / name), np.full((64, 64, 3), 90, np.uint8))
    return tmp_path / "my.frames"


@pytest.fixture
def run(tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run the verb on the tiny model; exit code, stdout, stderr."""

    def call(*words: Path | str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["run", str(tiny_model), *(str(word) for word in words)])
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.mark.parametrize("twice", [False, True])
def test_the_result_has_the_figures_of_each_source_and_their_sums(
    run: Any, clips: list[Path], twice: bool
) -> None:
    flags = ["--source", clips[0], "--source", clips[1]] if twice else ["--source", *clips]
    code, out, _ = run(*flags, "--track")
    result = json.loads(out)
    assert code == 0
    assert (result["frames"], result["dropped"], result["detections"]) == (10, 0, {"red": 10})
    assert (result["complete"], result["files"], result["ended_by"]) == (True, [], None)
    entries = result["sources"]
    assert [entry["source"] for entry in entries] == [str(clip) for clip in clips]
    assert [entry["source_name"] for entry in entries] == ["drive.mp4", "drive-2.mp4"]
    assert [(entry["frames"], entry["tracks"], entry["error"]) for entry in entries] == [
        (6, 1, None),
        (4, 1, None),
    ]


def test_one_source_has_its_figures_at_the_top(run: Any, clips: list[Path]) -> None:
    result = json.loads(run("--source", clips[0])[1])
    assert "sources" not in result
    assert (result["source"], result["source_name"], result["frames"]) == (str(clips[0]), "drive.mp4", 6)
    assert (result["drops"], result["age_ms"], result["age_p95_ms"], result["age_p99_ms"]) == (
        {},
        None,
        None,
        None,
    )


def test_json_lines_name_the_source(run: Any, clips: list[Path]) -> None:
    _, out, err = run("--source", *clips, "--json-lines")
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["frame"] for line in lines if line["source"] == "drive.mp4"] == list(range(6))
    assert [line["frame"] for line in lines if line["source"] == "drive-2.mp4"] == list(range(4))
    assert "drive.mp4: 6 frames" in err
    assert "drive-2.mp4: 4 frames" in err


def test_each_source_has_its_files_in_the_folder(
    run: Any, clips: list[Path], images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    single = images / "a.png"
    flags = ["--save", out, "--save-crops", tmp_path / "crops", "--save-txt", tmp_path / "txt"]
    code, text, _ = run("--source", *clips, images, single, *flags)
    assert code == 0
    files = ["drive.mp4", "drive-2.mp4", "my_frames/a.png", "my_frames/b.png", "a.png"]
    assert json.loads(text)["files"] == [str(out / file) for file in files]
    assert [len(list(open_source(out / file).frames())) for file in files] == [6, 4, 1, 1, 1]
    crops = [entry["crops"] for entry in json.loads(text)["sources"]]
    assert [(Path(one["folder"]).name, one["files"]) for one in crops] == [
        ("drive.mp4", 6),
        ("drive-2.mp4", 4),
        ("my.frames", 2),
        ("a.png", 1),
    ]
    assert len(list((tmp_path / "txt" / "drive-2.mp4").iterdir())) == 4


def test_one_file_for_several_sources_is_two_lines(run: Any, clips: list[Path], tmp_path: Path) -> None:
    code, out, err = run("--source", *clips, "--save", tmp_path / "out.mp4")
    assert (code, out, len(err.splitlines())) == (2, "", 2)
    assert "is one file, and there are 2 sources" in err
    assert f"--save {tmp_path / 'out'}" in err


def test_no_source_is_written_over(run: Any, clips: list[Path], tmp_path: Path) -> None:
    other = write_clip(tmp_path / "in1" / "drive-2.mp4", 3)
    before = other.read_bytes()
    code, _, err = run("--source", other, *clips, "--save", tmp_path / "in1", "--force")
    assert (code, len(err.splitlines())) == (2, 2)
    assert "may overwrite a source" in err
    assert other.read_bytes() == before


def test_a_source_that_cannot_be_opened_is_told_before_anything_runs(
    run: Any, clips: list[Path], tmp_path: Path
) -> None:
    code, out, _ = run("--source", clips[0], tmp_path / "no.mp4", "--save", tmp_path / "out")
    assert (code, out) == (3, "")
    assert not (tmp_path / "out").exists()


def test_a_source_that_breaks_off_leaves_the_others_and_the_exit_code_tells(
    run: Any, clips: list[Path], images: Path
) -> None:
    (images / "b.png").write_bytes((images / "b.png").read_bytes()[:-16])
    code, out, err = run("--source", images, *clips)
    result = json.loads(out)
    assert code == 3
    assert [entry["frames"] for entry in result["sources"]] == [1, 6, 4]
    assert [entry["complete"] for entry in result["sources"]] == [False, True, True]
    assert "is truncated" in result["sources"][0]["error"]
    assert result["complete"] is False
    assert "my.frames: " in err
    assert run("--source", images, *clips, "--json-lines")[0] == 3


def test_frames_are_limited_for_each_source(run: Any, clips: list[Path]) -> None:
    result = json.loads(run("--source", *clips, "--max-frames", "5")[1])
    assert [entry["frames"] for entry in result["sources"]] == [5, 4]


def test_a_person_gets_a_table_for_each_source(tiny_model: Path, clips: list[Path]) -> None:
    parser = argparse.ArgumentParser()
    verb.add_arguments(parser)
    result = verb.run(parser.parse_args([str(tiny_model), "--source", *(str(clip) for clip in clips)]))
    assert result is not None
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(verb.show(result))
    text = console.export_text()
    assert "tiny.onnx on drive.mp4" in text.replace("\n", " ")
    assert "on drive-2.mp4" in text
    assert "6 red" in text
    assert "4 red" in text


class Camera:
    """Sends frames for ever, or stops."""

    is_live, fps, total, doubts, broke_off = True, 10.0, None, (), None
    dropped, decoder = 3, "fake"

    def __init__(self, frames: int) -> None:
        self._frames = frames
        self.drops = {"replaced": 2, "gap": 1}

    def frames(self) -> Iterator[Frame]:
        for i in range(self._frames):
            image = np.full((64, 64, 3), 90, np.uint8)
            yield Frame(image_bgr=image, index=i, captured_s=0.0, name="cam", decode_ms=1.0, time_s=i / 10)
        raise DeviceError("cam stopped sending", hint="check the cable")

    def close(self) -> None:
        pass


def test_a_camera_has_percentiles_of_its_age_and_drops_by_cause(
    run: Any, clips: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "runtime.frames.open_source",
        lambda text, **_: Camera(10**9) if text == "0" else open_source(text),
    )
    result = json.loads(run("--source", "0", clips[0], "--max-frames", "30")[1])
    camera, clip = result["sources"]
    assert camera["source_name"] == "camera0"
    assert 0 < camera["age_ms"] <= camera["age_p95_ms"] <= camera["age_p99_ms"]
    assert camera["drops"]["gap"] == 1
    assert camera["drops"]["replaced"] >= 2
    assert camera["dropped"] == sum(camera["drops"].values())
    assert clip["age_ms"] is None


#: Two cameras without end, by the verb; arguments: model, folder.
CAMERAS = """
import os, sys, time
import numpy as np
import runtime.frames
from runtime.frames import Frame

class Camera:
    is_live, fps, total, dropped, drops, doubts, broke_off = True, 50.0, None, 0, {}, (), None
    decoder = "fake"
    def frames(self):
        for i in range(10**6):
            time.sleep(0.005)
            image = np.full((48, 64, 3), i % 256, np.uint8)
            yield Frame(image_bgr=image, index=i, captured_s=time.perf_counter(), name="c", decode_ms=1.0,
                        time_s=i / 50)
            if i == 20:
                os.write(2, b"ready\\n")  # in one piece: two threads write
    def close(self):
        pass

runtime.frames.open_source = lambda text, **_: Camera()
from edgestill.cli.main import main
sys.exit(main(["run", sys.argv[1], "--source", "0", "1", "--save", sys.argv[2], "--threads", "1"]))
"""


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 0), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_all_cameras_with_a_summary(
    tiny_model: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    command = [sys.executable, "-c", CAMERAS, str(tiny_model), str(tmp_path / "out")]
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    systemd = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"}
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listening.bind(systemd["NOTIFY_SOCKET"])
    with listening, subprocess.Popen(command, env={**os.environ, **systemd}, **pipes) as process:
        assert process.stderr is not None
        ready = 0
        while ready < 2:
            line = process.stderr.readline()
            assert line, "the program ended before it was ready"
            ready += line == "ready\n"
        process.send_signal(number)
        try:
            out, err = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()  # or the end of the block would wait for it
            raise
        listening.setblocking(False)
        assert listening.recv(4096).startswith(b"READY=1\nWATCHDOG=1\n")
        messages = [listening.recv(4096)]
        while messages[-1] != b"STOPPING=1":
            messages.append(listening.recv(4096))
        assert all(message.startswith(b"WATCHDOG=1\n") for message in messages[:-1])
    assert process.returncode == code, err
    result = json.loads(out)
    assert result["ended_by"] == number.name
    assert result["complete"] is True
    assert result["files"] == [str(tmp_path / "out" / f"camera{i}.mp4") for i in range(2)]
    for entry in result["sources"]:
        assert len(list(open_source(entry["files"][0]).frames())) == entry["frames"] > 0
