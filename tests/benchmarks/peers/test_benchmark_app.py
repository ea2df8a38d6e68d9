"""The runtime beside OpenVINO's benchmark_app, here a program that prints fixed figures."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks.peers.benchmark_app import main

APP = """#!{python}
import sys
from pathlib import Path
with Path(__file__).with_name("calls.txt").open("a") as calls:
    print(*sys.argv[1:], file=calls)
latency = "latency" in sys.argv or "sync" in sys.argv
if "-nthreads" in sys.argv and "none" not in sys.argv:  # a rule of the program
    sys.exit("Exception: -nstreams, -nthreads and -pin options are fine tune options.")
print("[ INFO ]    Median:        2.50 ms" if latency else "[ INFO ] Throughput:   400.00 FPS")
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    path = tmp_path / "benchmark_app"
    path.write_text(APP.format(python=sys.executable))
    path.chmod(0o755)
    return path


def test_both_hints_are_measured_in_turns_with_the_same_threads(
    app: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--seconds", "0.01", "--rounds", "1", "--threads", "2", "--benchmark-app", str(app)]
    assert main([str(tiny_model), *words]) == 0
    found = json.loads(capsys.readouterr().out)
    middle = found["median"]
    assert (middle["app_ms"], middle["app_fps"]) == (2.5, 400)
    assert middle["latency_ratio"] == pytest.approx(middle["frame_ms"] / 2.5, abs=0.002)
    assert middle["throughput_ratio"] == pytest.approx(middle["fps"] / 400, abs=0.002)
    assert middle["frame_ms"] > middle["inference_ms"] > 0
    assert middle["share"] > 0
    calls = app.with_name("calls.txt").read_text().splitlines()
    assert ["-nstreams 1 -api sync" in call for call in calls] == [
        True,
        False,
    ] * 2  # one round is not counted
    assert all("-ip f32 -infer_precision f32 -hint none -nthreads 2" in call for call in calls)


def test_without_a_number_of_threads_the_hints_say_how(app: Path, tiny_model: Path) -> None:
    assert main([str(tiny_model), "--seconds", "0.01", "--rounds", "1", "--benchmark-app", str(app)]) == 0
    calls = app.with_name("calls.txt").read_text().splitlines()
    assert [call.split("-hint ")[1] for call in calls] == ["latency", "throughput"] * 2


def test_a_program_that_gives_no_figure_is_told(
    tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    app = tmp_path / "benchmark_app"
    app.write_text("#!/bin/sh\necho '[ ERROR ] no such device'\n")
    app.chmod(0o755)
    assert main([str(tiny_model), "--seconds", "0.01", "--benchmark-app", str(app)]) == 5
    assert "no such device" in capsys.readouterr().err
    assert main([str(tiny_model), "--benchmark-app", str(tmp_path / "none")]) == 5
    assert "there is no benchmark_app" in capsys.readouterr().err
