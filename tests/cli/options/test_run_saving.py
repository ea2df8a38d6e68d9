"""How ``edgestill run`` writes: segments, folders of images, events, the strip, and folders that fail."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import pytest

from edgestill.cli.main import main
from edgestill.cli.verbs import run as verb
from edgestill.dataset import read_image
from edgestill.spec import ModelSpec
from runtime.frames import Frame, open_source


@pytest.fixture
def run(tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run the verb on the tiny model; exit code, stdout, stderr."""

    def call(source: Path | str, *flags: str | Path) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["run", str(tiny_model), "--source", str(source), *map(str, flags)])
        out, err = capsys.readouterr()
        return code, out, err

    return call


class Camera:
    """A camera of six frames."""

    is_live, fps, total, dropped = True, None, None, 0
    drops: ClassVar[dict[str, int]] = {}
    decoder = "fake"
    doubts: tuple[str, ...] = ()
    broke_off = None

    def frames(self) -> Iterator[Frame]:
        for i in range(6):
            image = np.full((64, 64, 3), 90, np.uint8)
            yield Frame(image_bgr=image, index=i, captured_s=0.0, name="csi://0", decode_ms=0.0, time_s=i / 5)

    def close(self) -> None:
        pass


@pytest.fixture
def camera(monkeypatch: pytest.MonkeyPatch) -> str:
    """The text of a source that is a camera."""
    monkeypatch.setattr("runtime.frames.open_source", lambda _, **__: Camera())
    return "0"


@pytest.mark.parametrize("source", ["clip", "camera"])
def test_a_video_is_saved_in_segments(
    run: Any, tmp_path: Path, source: str, request: pytest.FixtureRequest
) -> None:
    at = request.getfixturevalue(source)
    code, out, _ = run(at, "--save", tmp_path / "o" / "drive.mp4", "--segment-minutes", "0.01")
    result = json.loads(out)
    assert (code, result["codec"]) == (0, "h264")
    assert result["files"] == sorted(str(path) for path in (tmp_path / "o").glob("drive-*Z*.mp4"))
    assert [len(list(open_source(path).frames())) for path in result["files"]] == [3, 3]


def test_a_folder_gets_segments_of_the_name_of_the_source(run: Any, clip: Path, tmp_path: Path) -> None:
    _, out, _ = run(clip, "--save", tmp_path / "o", "--segment-minutes", "10", "--keep-gib", "1")
    (file,) = json.loads(out)["files"]
    assert Path(file).name.startswith("in-2")


@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_the_frames_of_a_video_are_saved_as_images(run: Any, clip: Path, tmp_path: Path, kind: str) -> None:
    _, out, _ = run(clip, "--save", tmp_path / "o", "--save-format", kind, "--strip", "off")
    assert json.loads(out)["files"] == [str(tmp_path / "o")]
    names = sorted(path.name for path in (tmp_path / "o").iterdir())
    assert names == [f"in_00000{i}.{kind}" for i in range(6)]
    assert read_image(tmp_path / "o" / names[0]).shape == (64, 64, 3)
    assert run(clip, "--save", tmp_path / "o", "--save-format", kind)[0] == 2
    assert run(clip, "--save", tmp_path / "o", "--save-format", kind, "--force")[0] == 0


def test_the_frames_of_a_camera_are_saved_as_images(run: Any, camera: str, tmp_path: Path) -> None:
    assert run(camera, "--save", tmp_path / "o", "--save-format", "png")[0] == 0
    assert sorted(path.name for path in (tmp_path / "o").iterdir())[0] == "csi_0_000000.png"


def test_images_are_saved_in_another_format(run: Any, tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg", "b.png"):
        (tmp_path / "in").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "in" / name), np.full((64, 64, 3), 90, np.uint8))
    _, out, _ = run(tmp_path / "in", "--save", tmp_path / "o", "--save-format", "jpg")
    names = [Path(path).name for path in json.loads(out)["files"]]
    assert sorted(names) == ["a-2.jpg", "a.jpg", "b.jpg"]
    assert run(tmp_path / "in", "--save", tmp_path / "o", "--save-format", "jpg")[0] == 2


@pytest.mark.parametrize(("strip", "is_higher"), [("below", True), ("off", False)])
def test_the_strip_is_below_the_picture_or_off(
    run: Any, clip: Path, tmp_path: Path, strip: str, is_higher: bool
) -> None:
    run(clip, "--save", tmp_path / "o.png", "--max-frames", "1", "--strip", strip)
    height, width = read_image(tmp_path / "o.png").shape[:2]
    assert (height > 64, width) == (is_higher, 64)


def test_events_are_written_and_counted(run: Any, clip: Path, tmp_path: Path) -> None:
    code, out, _ = run(clip, "--track", "--events", tmp_path / "o" / "e.jsonl")
    result = json.loads(out)
    assert (code, result["events"]) == (0, {"file": str(tmp_path / "o" / "e.jsonl"), "lines": 1})
    assert result["files"] == [str(tmp_path / "o" / "e.jsonl")]
    (event,) = map(json.loads, (tmp_path / "o" / "e.jsonl").read_text().splitlines())
    assert (event["from"], event["to"], event["source"]) == ("unknown", "red", "in.mp4")


def test_events_of_a_camera_are_appended_with_force(run: Any, camera: str, tmp_path: Path) -> None:
    at = ("--track", "--events", tmp_path / "e.jsonl")
    assert run(camera, *at)[0] == 0
    assert run(camera, *at)[0] == 2
    assert run(camera, *at, "--force")[0] == 0
    assert len((tmp_path / "e.jsonl").read_text().splitlines()) == 2


def test_the_files_are_named_in_the_table(run: Any, clip: Path, tmp_path: Path) -> None:
    from rich.console import Console

    _, out, _ = run(clip, "--track", "--events", tmp_path / "e", "--save", tmp_path / "o.mp4")
    console = Console(width=300)
    with console.capture() as capture:
        console.print(verb.show({**json.loads(out), "files": [tmp_path / "o.mp4", tmp_path / "e"]}))
    assert f"{tmp_path / 'o.mp4'}, {tmp_path / 'e'}, h264" in capture.get()
    assert f"1 in {tmp_path / 'e'}" in capture.get()


@pytest.mark.parametrize(
    ("flags", "what"),
    [
        (("--keep-gib", "3"), "--keep-gib is without --segment-minutes"),
        (("--segment-minutes", "3"), "--segment-minutes is without --save"),
        (("--save-format", "png"), "--save-format is without --save"),
        (("--save", "x.mp4", "--segment-minutes", "nan"), "--segment-minutes is nan"),
        (("--save", "x.mp4", "--segment-minutes", "0"), "--segment-minutes is 0"),
        (("--save", "x.mp4", "--segment-minutes", "1", "--keep-gib", "-1"), "--keep-gib is -1"),
        (("--save", "x.mp4", "--segment-minutes", "1", "--keep-gib", "inf"), "--keep-gib is inf"),
        (("--save", "x", "--segment-minutes", "1", "--save-format", "png"), "--save-format writes images"),
        (("--save", "x.png", "--save-format", "png"), "x.png is a file"),
        (("--save", "x.mp4", "--save-format", "png"), "x.mp4 is a file"),
        (("--save", "x.png", "--segment-minutes", "1", "--max-frames", "1"), "x.png is none"),
        (("--events", "e"), "--events are changes of tracked lights"),
        (("--events", "in.mp4", "--track", "--force"), "would overwrite another file"),
        (("--events", "o.mp4", "--save", "o.mp4", "--track"), "would overwrite another file"),
    ],
)
def test_flags_that_do_not_fit_are_two_lines(
    run: Any, clip: Path, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...], what: str
) -> None:
    monkeypatch.chdir(clip.parent)
    before = clip.read_bytes()
    code, out, err = run("in.mp4", *flags)
    assert (code, out) == (2, "")
    assert what in err.splitlines()[0]
    assert err.splitlines()[1].startswith("  hint: ")
    assert [path.name for path in clip.parent.iterdir()] == ["in.mp4"]
    assert clip.read_bytes() == before


def test_a_model_without_states_has_no_events(
    clip: Path, tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(tiny_model)
    spec = ModelSpec(name="tiny", input_hw=(32, 32), classes=("car", "bus"))
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, spec.to_metadata())
    onnx.save(model, tmp_path / "cars.onnx")
    words = [
        "run",
        str(tmp_path / "cars.onnx"),
        "--source",
        str(clip),
        "--track",
        "--events",
        str(tmp_path / "e"),
    ]
    assert main(words) == 2
    assert "no states of lights" in capsys.readouterr().err
    assert not (tmp_path / "e").exists()


FLAGS = {
    "video": ("--save", "{}/o.mp4"),
    "segments": ("--save", "{}/o.mp4", "--segment-minutes", "0.01"),
    "images": ("--save", "{}/o", "--save-format", "png"),
    "crops": ("--save-crops", "{}/o"),
    "labels": ("--save-txt", "{}/o"),
    "events": ("--events", "{}/o", "--track"),
}


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Any]:
    """Mounts a file system of a size in KiB, with options; returns its folder."""
    mounted: list[Path] = []

    def mount(size_kib: int, options: str = "rw") -> Path:
        folder = tmp_path / "disk"
        folder.mkdir(exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={size_kib}k,{options}", "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    if sys.platform != "linux" or shutil.which("mount") is None:
        pytest.skip("needs mount of Linux")
    yield mount
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("kind", FLAGS)
def test_a_folder_that_may_not_be_written_is_two_lines(run: Any, clip: Path, tmpfs: Any, kind: str) -> None:
    read_only = tmpfs(64, "ro")
    code, out, err = run(clip, *(flag.format(read_only) for flag in FLAGS[kind]))
    assert (code, out) == (2, "")
    *_, what, hint = err.splitlines()
    assert what.startswith("edgestill run: ")
    assert str(read_only) in what
    assert hint.startswith("  hint: ")


class NoisyCamera(Camera):
    """A camera whose frames fill any disk."""

    def frames(self) -> Iterator[Frame]:
        random = np.random.default_rng(0)
        for i in range(1000):
            image = random.integers(0, 255, (256, 256, 3), np.uint8)
            yield Frame(image_bgr=image, index=i, captured_s=0.0, name="0", decode_ms=0.0, time_s=i / 5)


@pytest.mark.parametrize("kind", FLAGS)
def test_a_full_disk_is_two_lines_what_was_recorded_stays_and_other_files_are_closed(
    run: Any, tmpfs: Any, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.frames.open_source", lambda _, **__: NoisyCamera())
    disk = tmpfs(600)
    if kind == "events":  # of which there is one
        (disk / "rest").write_bytes(b"x" * (600 << 10))
    flags = [flag.format(disk) for flag in FLAGS[kind]]
    other = ("--save", tmp_path / "other.mp4") if "--save" not in flags else ("--save-txt", tmp_path / "txt")
    code, out, err = run("0", *flags, *other, "--max-frames", "400")
    assert (code, out) == (2, "")
    *_, what, hint = err.splitlines()
    assert what.startswith(f"edgestill run: {disk}/o")
    assert what.endswith("No space left on device")
    assert hint.startswith("  hint: ")
    videos = [*tmp_path.glob("other*.mp4"), *sorted(disk.glob("*.mp4"))]
    if kind == "segments":  # the last one may have had no room for a frame
        assert len(videos) > 2
        del videos[-1]
    assert all(len(list(open_source(path).frames())) >= 1 for path in videos)
    assert videos or kind == "images"
    assert not any(".part" in path.name or path.name.startswith(".") for path in disk.rglob("*"))
    for path in disk.rglob("*.png"):
        assert read_image(path).shape[1:] == (256, 3)


@pytest.mark.slow
def test_with_a_limit_a_full_disk_does_not_end_the_recording(
    run: Any, tmpfs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.frames.open_source", lambda _, **__: NoisyCamera())
    disk = tmpfs(4000)
    flags = ("--segment-minutes", "0.02", "--keep-gib", "20", "--max-frames", "100")
    code, out, err = run("0", "--save", disk / "o.mp4", *flags)
    assert code == 0
    assert "of the oldest segments" in err
    files = json.loads(out)["files"]
    assert [str(path) for path in sorted(disk.glob("*.mp4"))] == sorted(files)
    assert all(len(list(open_source(path).frames())) >= 1 for path in files)
