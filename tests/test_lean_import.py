"""What runs on a device brings no training library with it, shown in a fresh interpreter."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgestill.cli.main import VERBS

HEAVY = frozenset({"torch", "torchvision", "ultralytics", "tensorflow"})
# Not to be had on a board, or slow to start: only the verb that needs one may load it
VENDORS = frozenset({"onnx", "onnxruntime", "openvino", "nncf", "matplotlib", "jinja2", "scipy"})


def modules_after(code: str, cwd: Path) -> set[str]:
    """Top-level names in ``sys.modules`` after some code ran in an interpreter of its own."""
    tail = (
        "\nimport json, sys\nprint(); print(json.dumps(sorted({m.partition('.')[0] for m in sys.modules})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code + tail], cwd=cwd, capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def verb(*words: str) -> str:
    return f"from edgestill.cli.main import main\nassert main({list(words)!r}) == 0"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    cv2.imwrite(str(tmp_path / "x.png"), np.zeros((32, 32, 3), np.uint8))
    return tmp_path / "x.png"


@pytest.mark.parametrize("backend", ["ort", "ov"])
def test_run_imports_no_training_library(tiny_model: Path, image: Path, backend: str) -> None:
    code = verb("run", str(tiny_model), "--source", str(image), "--backend", backend, "--track")
    assert not HEAVY & modules_after(code, image.parent)


def test_bench_imports_no_training_library(tiny_model: Path, image: Path) -> None:
    short = ("--duration-s", "0.1", "--min-samples", "3", "--warmup-s", "0", "--threads", "1")
    code = verb("bench", str(tiny_model), "--source", str(image), *short)
    assert not HEAVY & modules_after(code, image.parent)


@pytest.mark.parametrize("words", [("devices",), ("devices", "here")])
def test_devices_imports_neither_training_nor_inference_libraries(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    assert not (HEAVY | VENDORS) & modules_after(verb(*words), tmp_path)


def test_the_overview_of_all_verbs_loads_no_heavy_library(tmp_path: Path) -> None:
    assert not (HEAVY | VENDORS) & modules_after(verb("--help"), tmp_path)


#: Shows the help of every verb in a fork of its own, which tells what it has loaded by then.
HELPS = """
import json, os, sys
from edgestill.cli.main import VERBS, main

for name in VERBS.names():
    child = os.fork()
    if child == 0:
        code = 1
        try:
            main([name, "--help"])
        except SystemExit as end:
            code = end.code
        print()
        print(json.dumps([name, code, sorted({m.partition(".")[0] for m in sys.modules})]), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


def test_the_help_of_a_verb_loads_no_heavy_library(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HELPS], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('["')]
    assert [name for name, _, _ in found] == list(VERBS.names()), done.stderr
    assert {name: code for name, code, _ in found if code != 0} == {}
    heavy = {name: (HEAVY | VENDORS) & set(modules) for name, _, modules in found}
    assert {name: modules for name, modules in heavy.items() if modules} == {}


@pytest.mark.parametrize(
    "module",
    [
        "edgestill",
        "edgestill.plotting",
        "devices",
        "export",
        "benchmarks",
        "runtime.detector",
        "runtime.pipeline",
        "edgestill.demo.overlay",
        "edgestill.demo.watching",
    ],
)
def test_importing_it_brings_no_heavy_library(module: str, tmp_path: Path) -> None:
    assert not (HEAVY | VENDORS) & modules_after(f"import {module}", tmp_path)


def test_the_embedded_names_are_there_and_cost_nothing_before_their_use(tmp_path: Path) -> None:
    assert "cv2" not in modules_after("import edgestill", tmp_path)
    assert "cv2" not in modules_after("from edgestill import watch", tmp_path)
    names = "open_source, open_detector, Detector, FrameResult, Watcher"
    assert "runtime" in modules_after(f"from edgestill import {names}", tmp_path)
