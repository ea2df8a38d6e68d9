"""One turn of each program; those that are not here are stand-ins that check their arguments as strictly."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.peers import programs
from benchmarks.peers.programs import Turn, take
from benchmarks.peers.turn_inputs import turn_images
from edgestill.errors import ArtifactError, DeviceError

#: Known options and flags of trtexec 8.6 and 10; an unknown one is an error, as there.
#: Source: `trtexec --help` of TensorRT 10.6, NVIDIA/TensorRT samples/common/sampleOptions.cpp.
TRTEXEC = """#!{python}
import sys
from pathlib import Path
print("&&&& RUNNING TensorRT.trtexec [TensorRT v{version}] # trtexec", *sys.argv[1:])
if "--help" in sys.argv[1:]:
    sys.exit(0)
values, flags = {{"loadEngine", "duration", "warmUp", "iterations", "avgRuns", "percentile", "device"}}, {{
    "noDataTransfers", "useSpinWait", "useCudaGraph"}}
if {version} >= 110000:
    flags |= {{"includeDataTransfers", "noCudaGraph", "noSpinWait"}}
given = {{}}
for word in sys.argv[1:]:
    name, sign, value = word.removeprefix("--").partition("=")
    if not word.startswith("--") or name not in (values if sign else flags):
        print("[E] Unknown option:", word)
        print("&&&& FAILED TensorRT.trtexec [TensorRT v{version}]")
        sys.exit(1)
    given[name] = value
int(given["duration"]), int(given["warmUp"])
if not Path(given["loadEngine"]).is_file():
    print("[E] Error opening engine file:", given["loadEngine"])
    sys.exit(1)
Path(__file__).with_name("called.txt").write_text(" ".join(sys.argv[1:]))
print('''[I] === Performance summary ===
[I] Throughput: 900 qps
[I] Latency: min = 1 ms, max = 3 ms, mean = 1.6 ms, median = 1.5 ms, percentile(99%) = 2 ms
[I] Enqueue Time: min = 1 ms, max = 3 ms, mean = 1.6 ms, median = 9 ms, percentile(99%) = 2 ms
[I] H2D Latency: min = 0.1 ms, max = 0.3 ms, mean = 0.2 ms, median = 0.2 ms
[I] GPU Compute Time: min = 1 ms, max = 2 ms, mean = 1.2 ms, median = 1.2 ms
[I] D2H Latency: min = 0.1 ms, max = 0.3 ms, mean = 0.2 ms, median = 0.1 ms''')
"""

#: Options of benchmark_app, which knows no others here, and its rule about hints.
#: Source: openvino/tools/benchmark/main.py and parameters.py of OpenVINO 2026.4.
APP = """#!{python}
import argparse, sys
from pathlib import Path
parser = argparse.ArgumentParser(allow_abbrev=False)
for flag in ("-m", "-d", "-hint", "-t", "-ip", "-infer_precision", "-nthreads", "-nstreams", "-api"):
    parser.add_argument(flag, type=int if flag in ("-t", "-nthreads") else str)
args = parser.parse_args()
if args.hint != "none" and (args.nthreads or args.nstreams):
    sys.exit("Exception: -nstreams, -nthreads and -pin options are fine tune options.")
assert (args.d, args.ip, args.infer_precision) == ("CPU", "f32", "f32")
assert args.hint == "latency" or (args.nstreams, args.api) == ("1", "sync")
Path(__file__).with_name("called.txt").write_text(str(args.nthreads))
print("[ INFO ]    Median:        2.50 ms")
"""

YOLO = """#!{python}
import os, sys
from pathlib import Path
assert sys.argv[1] == "predict"
given = dict(word.split("=", 1) for word in sys.argv[2:])
assert set(given) == {{"model", "source", "device", "conf", "iou", "save", "project"}}, given
assert Path(given["model"]).name.endswith("_openvino_model")
assert len(list(Path(given["source"]).iterdir())) == 16
assert os.environ["YOLO_OFFLINE"] == "true" and given["save"] == "False"
cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
Path(__file__).with_name("called.txt").write_text(f"{{cpus}} {{os.environ.get('OMP_NUM_THREADS')}}")
print("image 1/16 a.jpg: 640x640 (no detections), 30.1ms")
print("Speed: \\x1b[1m3.5ms preprocess, 60.0ms inference, 1.5ms postprocess per image at shape (1, 3, 8, 8)")
"""


def stand_in(text: str, path: Path, **values: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.format(python=sys.executable, **values))
    path.chmod(0o755)
    return path


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return turn_images(tmp_path_factory.mktemp("turn") / "images", ())


@pytest.fixture
def turn(images: Path, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Turn:
    monkeypatch.setattr(programs, "program_of", lambda name, program, folder: folder / name / "bin" / program)
    return Turn(
        model=tiny_model,
        backend="ort",
        images=images,
        seconds=0.01,
        threads=1,
        cpus=None,
        peers=tmp_path / "peers",
    )


def changed(turn: Turn, **values: object) -> Turn:
    fields = {name: getattr(turn, name) for name in Turn.__dataclass_fields__}
    return Turn(**{**fields, **values})


def test_ours_runs_each_image_in_a_process_of_its_own(turn: Turn) -> None:
    found = take("edgestill", turn)
    assert found["frames"] >= 16
    assert 0 < found["time_ms"] < found["frame_ms"]
    assert found["cpu_ms"] > 0
    assert found["process_cpu_s"] > found["cpu_ms"] / 1e3
    assert found["gpu_ms"] is None


def test_the_error_of_ours_comes_back_in_its_own_words(turn: Turn, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"^/.*none\.onnx does not exist") as caught:
        take("edgestill", changed(turn, model=tmp_path / "none.onnx"))
    assert "python" not in caught.value.hint


@pytest.mark.parametrize("threads", [None, 2])
def test_benchmark_app_computes_in_fp32_with_the_same_threads(turn: Turn, threads: int | None) -> None:
    app = stand_in(APP, turn.peers / "openvino" / "bin" / "benchmark_app")
    found = take("benchmark_app", changed(turn, threads=threads))
    assert found["time_ms"] == 2.5
    assert app.with_name("called.txt").read_text() == str(threads)


def test_yolo_has_no_more_cpus_than_the_others(turn: Turn, tmp_path: Path) -> None:
    yolo = stand_in(YOLO, turn.peers / "ultralytics" / "bin" / "yolo")
    cpus = frozenset([min(os.sched_getaffinity(0))]) if hasattr(os, "sched_getaffinity") else None
    found = take("yolo predict", changed(turn, model=tmp_path / "x_openvino_model" / "x.xml", cpus=cpus))
    assert (found["time_ms"], found["frame_ms"]) == (60, 65)
    assert yolo.with_name("called.txt").read_text() == "1 1"
    if cpus is not None:  # the limit is that of the program alone
        assert len(os.sched_getaffinity(0)) >= 1


@pytest.mark.parametrize(
    ("version", "is_told"),
    [
        pytest.param(8601, False, id="8.6"),
        pytest.param(100700, False, id="10.7"),
        pytest.param(110100, True, id="11.1"),
    ],
)
def test_trtexec_measures_with_copies_whatever_its_version(
    turn: Turn, version: int, is_told: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trtexec = stand_in(TRTEXEC, tmp_path / "bin" / "trtexec", version=version)
    monkeypatch.setenv("PATH", str(trtexec.parent))
    found = take("trtexec", turn)
    assert (found["time_ms"], found["gpu_ms"]) == (1.5, 1.2)  # not the median of Enqueue, H2D or D2H
    called = trtexec.with_name("called.txt").read_text()
    assert ("--includeDataTransfers --noCudaGraph --noSpinWait" in called) is is_told


def test_what_trtexec_says_against_a_file_is_told(
    turn: Turn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(stand_in(TRTEXEC, tmp_path / "bin" / "trtexec", version=100700).parent))
    with pytest.raises(DeviceError, match=r"trtexec ended with exit code 1: .*Error opening engine file"):
        take("trtexec", changed(turn, model=tmp_path / "none.engine"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeviceError, match="trtexec is not on PATH"):
        take("trtexec", turn)


@pytest.mark.parametrize(
    ("program", "place"), [("benchmark_app", "openvino"), ("yolo predict", "ultralytics")]
)
def test_a_program_that_prints_no_figure_is_no_result(turn: Turn, program: str, place: str) -> None:
    name = "yolo" if place == "ultralytics" else program
    stand_in("#!/bin/sh\necho 'nothing was measured'\n", turn.peers / place / "bin" / name)
    with pytest.raises(DeviceError, match=f"{name} gave no figure: nothing was measured"):
        take(program, turn)


def test_the_stand_in_of_trtexec_refuses_an_unknown_option(tmp_path: Path) -> None:
    trtexec = stand_in(TRTEXEC, tmp_path / "trtexec", version=100700)
    done = subprocess.run(
        [str(trtexec), "--loadEngine=x", "--noCudaGraph"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "Unknown option: --noCudaGraph" in done.stdout
