"""What a user of a Jetson types first: devices, doctor, run, bench, and export with its refusals."""

from __future__ import annotations

from pathlib import Path

import pytest

from devices.detect import detect
from edgestill.cli.main import call
from tests.arm64.board import OWN_VENV, SYSTEM_VENV, Board
from tests.arm64.conftest import OnBoard

THERE = "/root/material"
IMAGE = "light_0.png"


def two_lines(stderr: str) -> tuple[str, str]:
    """What an error says, and its hint."""
    what, hint = stderr.splitlines()[-2:]
    assert what.startswith("edgestill ")
    assert hint.startswith("  hint: ")
    return what, hint


def test_it_recognises_itself_by_its_files(on_board: OnBoard, board: Board) -> None:
    status, found, _ = on_board("devices", "here")
    machine = found["machine"]
    assert (status, machine["arch"], machine["kind"]) == (0, "aarch64", "jetson")
    assert machine["key"].startswith("jetson-orin-nano")
    assert machine["jetson"]["l4t"] == "36.4.3"
    assert machine["jetson"]["power_mode"] == "25W"
    assert machine["cpu"]["cores"] == 6
    assert "asimddp" in machine["cpu"]["flags"]
    assert machine["temperatures_c"] == {"cpu-thermal": 47.312}
    assert machine["key"] == detect(board.root, arch="aarch64").key


def test_the_systems_opencv_is_in_use_with_gstreamer_and_numpy_1(on_board: OnBoard, board: Board) -> None:
    status, found, _ = on_board("doctor")
    assert (status, found["problems"], found["ok"]) == (0, [], True)
    parts = {part["name"]: part for part in found["parts"]}
    (fact,) = parts["opencv"]["facts"]
    assert fact.startswith("cv2 4.6.0 from /usr/lib/python3/dist-packages/cv2")
    assert fact.endswith("GStreamer: YES")
    assert parts["base"]["installed"]["numpy"].startswith("1.")
    assert parts["onnx"]["ready"]
    assert any("sudo apt install python3-libnvinfer" in line for line in found["advice"])
    assert board.run("ls", f"{SYSTEM_VENV}/lib/python3.11/site-packages/numpy").returncode != 0


def test_pips_opencv_is_told_from_it(on_board: OnBoard) -> None:
    _, found, _ = on_board("doctor", venv=OWN_VENV)
    (fact,) = next(part["facts"] for part in found["parts"] if part["name"] == "opencv")
    assert f"from {OWN_VENV}/" in fact
    assert fact.endswith("GStreamer: NO")
    assert any("has no GStreamer and hides the system's OpenCV" in line for line in found["advice"])


@pytest.mark.parametrize(("venv", "model"), [(SYSTEM_VENV, "fp32.onnx"), (OWN_VENV, "student")])
def test_run_finds_in_an_image_what_x86_finds(
    venv: str, model: str, on_board: OnBoard, material: Path
) -> None:
    there = model if model == "student" else f"{THERE}/{model}"
    saving = ("--save", "/tmp/out", "--force")
    status, found, _ = on_board("run", there, "--source", f"{THERE}/{IMAGE}", *saving, venv=venv)
    local = model if model == "student" else str(material / model)
    here = call(["run", local, "--source", str(material / IMAGE)])
    assert status == 0
    assert found["files"]
    assert sum(here["detections"].values()) > 0
    assert found["detections"] == here["detections"]


def test_run_tracks_in_a_clip(on_board: OnBoard, material: Path) -> None:
    status, found, _ = on_board("run", f"{THERE}/int8.onnx", "--source", f"{THERE}/clip.mp4", "--track")
    assert (status, found["frames"], found["complete"]) == (0, 3, True)
    assert found["decoder"].startswith("OpenCV")


def test_run_reads_a_pipeline_through_the_gstreamer_of_the_systems_opencv(
    on_board: OnBoard, material: Path
) -> None:
    source = "gst://videotestsrc ! video/x-raw, width=320, height=240"
    status, found, said = on_board("run", f"{THERE}/fp32.onnx", "--source", source, "--max-frames", "1")
    assert (status, found["frames"]) == (0, 1), said
    assert found["decoder"] == "OpenCV (GStreamer)"


def test_bench_measures_and_tells_the_conditions(on_board: OnBoard, material: Path) -> None:
    short = ("--duration-s", "0.1", "--min-samples", "3", "--warmup-s", "0", "--threads", "1")
    status, found, _ = on_board("bench", f"{THERE}/int8.onnx", *short)
    assert status == 0
    (model,) = found["models"]
    assert model["samples"] >= 3
    assert model["throughput_fps"] > 0
    machine = model["environment"]["machine"]
    assert machine["key"].startswith("jetson-orin-nano")
    assert any("the GPU clock is not fixed" in doubt for doubt in model["doubts"])


@pytest.mark.parametrize(
    ("words", "what", "hint"),
    [
        (
            ["--to", "tensorrt", "--precision", "fp16"],
            "tensorrt is not installed",
            "sudo apt install python3-libnvinfer",
        ),
        (["--to", "tensorrt-rtx", "--precision", "fp16"], "tensorrt_rtx is not installed", "x86 only"),
        (["--to", "openvino", "--precision", "fp32"], "needs 'openvino'", "openvino"),
    ],
)
def test_export_refuses_what_this_board_lacks(
    words: list[str], what: str, hint: str, on_board: OnBoard
) -> None:
    status, _, said = on_board("export", "student", *words, "--out", "/tmp/exports")
    lines = two_lines(said)
    assert (status, what in lines[0], hint in lines[1]) == (5, True, True), said


def test_opencv_that_was_built_for_numpy_1_names_the_command(on_board: OnBoard, board: Board) -> None:
    """The trap of --system-site-packages: pip installs NumPy 2 beside the system's OpenCV."""
    numpy_2 = f"{OWN_VENV}/lib/python3.11/site-packages"
    board.run("mkdir", "-p", "/tmp/numpy2")
    board.run("sh", "-c", f"ln -sf {numpy_2}/numpy {numpy_2}/numpy.libs {numpy_2}/numpy-2* /tmp/numpy2/")
    start = ("env", "PYTHONPATH=/tmp/numpy2", f"{SYSTEM_VENV}/bin/edgestill")
    done = board.run(*start, "run", f"{THERE}/fp32.onnx", "--source", f"{THERE}/{IMAGE}")
    what, hint = two_lines(done.stderr)
    assert (done.returncode, "was built for NumPy 1" in what) == (5, True)
    assert hint.startswith("  hint: pip install 'numpy<2'")
    doctor = board.run(*start, "doctor").stdout
    assert "OpenCV cannot be imported" in doctor
    assert "pip install 'numpy<2'" in doctor
