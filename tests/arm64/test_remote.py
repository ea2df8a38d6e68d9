"""The loop over ssh with a real bundle: deployed, cut and resumed, verified, measured, fetched, removed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import pytest

from edgestill.cli.main import call
from edgestill.errors import DeviceError
from edgestill.remote import loop
from edgestill.remote.device import Device
from edgestill.remote.loop import Request
from edgestill.remote.remote_host import RemoteHost
from edgestill.remote.ssh import VARIABLE, Ssh
from tests.arm64.board import GLIBC, PYTHON, Board
from tests.arm64.conftest import TENSORS, around_a_light
from tests.arm64.wheels import fetch_wheels

#: Input of the model: emulated, every pixel counts.
HEIGHT, WIDTH = 192, 320
SHORT = ("--duration-s", "0.1", "--min-samples", "3", "--warmup-s", "0", "--threads", "1")
CUT_AFTER = 20 << 20  # bytes of the upload


@pytest.fixture(scope="module")
def bundle(board: Board, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The student with a small input, and the wheels that the board has been installed from."""
    folder = tmp_path_factory.mktemp("bundle")
    size = f"{HEIGHT}x{WIDTH}"
    options = ["--to", "onnx", "--precision", "fp32", "--imgsz", size]
    call(["export", "student", *options, "--out", str(folder), "--name", "small"])
    call(["data", "synth", "--out", str(folder / "scenes"), "--images", "12", "--seed", "11"])
    (folder / "lights").mkdir()
    for number, place in enumerate(sorted((folder / "scenes/images/train").iterdir())[:TENSORS]):
        image = around_a_light(place)
        top, left = (image.shape[0] - HEIGHT) // 2, (image.shape[1] - WIDTH) // 2
        cv2.imwrite(str(folder / "lights" / f"{number}.png"), image[top : top + HEIGHT, left : left + WIDTH])
    shutil.copytree(folder / "lights", board.root / "root/lights", dirs_exist_ok=True)
    wheels = board.root / "opt/wheels"
    fetch_wheels(["pip"], wheels, python=PYTHON, glibc=GLIBC)
    device = ["--for", "jetson-orin-nano", "--python", PYTHON, "--wheels", str(wheels)]
    images = ["--images", str(folder / "lights")]
    call(["bundle", str(folder / "small.onnx"), *device, *images, "--out", str(folder / "small.tar")])
    return folder / "small.tar"


class Cut(Ssh):
    """ssh that is cut twice: in the middle of the upload, and while the benchmark runs."""

    def __init__(self, host: RemoteHost) -> None:
        super().__init__(host)
        self.cuts: list[str] = []

    def start(self) -> subprocess.Popen[bytes]:
        process = super().start()
        process.stdin = _Watched(process.stdin, "write", self._sent(process))  # type: ignore[assignment]
        process.stdout = _Watched(process.stdout, "readline", self._heard(process))  # type: ignore[assignment]
        return process

    def _sent(self, process: subprocess.Popen[bytes]) -> Callable[[Any], None]:
        total = 0

        def look(data: bytes) -> None:
            nonlocal total
            total += len(data)
            if total > CUT_AFTER and "upload" not in self.cuts:
                self.cuts.append("upload")
                process.kill()

        return look

    def _heard(self, process: subprocess.Popen[bytes]) -> Callable[[Any], None]:
        def look(line: bytes) -> None:
            if b'"bench ...' in line and "bench" not in self.cuts:
                self.cuts.append("bench")
                process.kill()

        return look


class _Watched:
    """A pipe of a process, one of whose methods is looked at: what it is given, or gives."""

    def __init__(self, pipe: Any, name: str, look: Callable[[Any], None]) -> None:
        self._pipe = pipe
        method = getattr(pipe, name)

        def watched(argument: Any) -> Any:
            result = method(argument)
            look(argument if isinstance(argument, bytes) else result)
            return result

        setattr(self, name, watched)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pipe, name)


@pytest.fixture(scope="module")
def way(board: Board, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cut]:
    """The way to the board, as a user's ssh configuration tells it."""
    config = tmp_path_factory.mktemp("ssh") / "config"
    config.write_text(
        f"Host board\n  HostName {board.host}\n  Port {board.port}\n  User {board.user}\n"
        f"  IdentityFile {board.key}\n  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n"
        "  LogLevel ERROR\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, f"ssh -F {config}")
        with closing(Cut(RemoteHost.parse("board"))) as transport:
            yield transport


@pytest.fixture(scope="module")
def device(way: Cut) -> Device:
    return Device(transport=way, owner="anna@laptop", pauses_s=(1.0, 1.0, 1.0))


@pytest.fixture(scope="module")
def measured(bundle: Path, device: Device, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The result of one ``bench`` on a board that has nothing yet."""
    to = tmp_path_factory.mktemp("fetched") / "here"
    return loop.bench(device, Request(bundle=bundle, words=SHORT, to=to))


def test_it_is_cut_twice_and_nothing_is_lost(measured: dict[str, Any], way: Cut) -> None:
    assert way.cuts == ["upload", "bench"]
    # The second connection sent what the first one had not: less than the whole bundle.
    assert 0 < measured["sent_bytes"] < measured["sent_bytes"] + measured["reused_bytes"]
    assert measured["reused_bytes"] > CUT_AFTER / 2
    assert measured["job"] == 1


def test_the_bundle_is_installed_and_gives_parity(measured: dict[str, Any]) -> None:
    assert measured["steps"]["install"]["models"] == ["small"]
    (model,) = measured["steps"]["verify"]["models"]
    print(f"worst score {model['worst_score']:.4f}, worst corner {model['worst_box_px']:.3f} px")
    assert model["matched"] == model["expected"] > 0
    assert model["failures"] == []
    assert measured["device"]["machine"] == "aarch64"
    assert measured["device"]["l4t"].startswith("# R36")


def test_it_is_measured_with_onnx_runtime_and_the_report_comes(measured: dict[str, Any]) -> None:
    assert measured["skipped"] == {"build": "there is no TensorRT", "layers": "there is no engine"}
    (model,) = measured["steps"]["bench"]["models"]
    assert model["backend"] == "ort"
    assert model["samples"] >= 3
    assert model["environment"]["machine"]["key"].startswith("jetson-orin-nano")
    names = [Path(name).name for name in measured["files"]]
    assert names == ["log", "bench.json", "install.json", "verify.json"]
    assert all(Path(name).stat().st_size for name in measured["files"])


def test_doctor_tells_what_is_there_and_what_is_missing(measured: dict[str, Any], device: Device) -> None:
    found = loop.doctor(device)
    assert found["bundle"] == measured["bundle"]
    assert found["tensorrt"] == {PYTHON: None}
    assert found["doctor"]["ok"]
    assert (found["problems"], found["doubts"]) == ([], [])


def test_without_tensorrt_an_engine_is_refused_in_two_lines(measured: dict[str, Any], device: Device) -> None:
    with pytest.raises(DeviceError, match="on board: tensorrt is not installed") as caught:
        loop.build(device, Request())
    assert "sudo apt install python3-libnvinfer" in caught.value.hint


def test_what_run_writes_comes_here(
    measured: dict[str, Any], device: Device, board: Board, tmp_path: Path
) -> None:
    source = "/root/lights/0.png"
    words = ("--source", source, "--save", "boxes.png", "--threads", "1")
    found = loop.run(device, Request(words=words, to=tmp_path / "here"), web_port=None)
    assert found["steps"]["run"]["frames"] == 1
    assert cv2.imread(str(tmp_path / "here" / "out" / "boxes.png")) is not None


def test_clean_leaves_nothing_on_the_board(measured: dict[str, Any], device: Device, board: Board) -> None:
    """Last: the others need what it removes."""
    assert loop.clean(device)["removed"] == "/root/.edgestill-remote"
    left = board.run("ls", "-A", "/root").stdout.split()
    assert [name for name in left if "edgestill-remote" in name] == []
    assert "edgestill-remote" not in board.run("ps", "ax").stdout
