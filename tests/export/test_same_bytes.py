"""Every export, repeated, is the same bytes: each kind of file of each head, in all forms, twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
KINDS = [
    *(
        f"{target}-{precision}"
        for target, precision in product(("onnx", "openvino"), ("fp32", "fp16", "int8"))
    ),
    "tensorrt-int8",
]
SHAPES = ("one", "batch", "free-batch", "free-size", "free-both")


@pytest.fixture(scope="module")
def digests(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    """SHA-256 by file, of two processes in which sets have another order."""
    started = [_started(tmp_path_factory.mktemp(seed), seed) for seed in ("1", "2")]
    return [_written(process) for process in started]


def _started(folder: Path, seed: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(HERE.parents[1])}
    command = [sys.executable, str(HERE / "every_form.py"), str(folder)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment)


def _written(process: subprocess.Popen[str]) -> dict[str, str]:
    told, complaints = process.communicate()
    assert process.returncode == 0, complaints[-2000:]
    found: dict[str, str] = json.loads(told)
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("head", ["coupled", "decoupled", "dfl"])
def test_two_exports_give_the_same_bytes(head: str, kind: str, digests: list[dict[str, str]]) -> None:
    first, second = (
        {name: digest for name, digest in found.items() if name.startswith(f"{head}-{kind}-")}
        for found in digests
    )
    assert len(first) >= 1
    assert first == second


def test_no_form_was_left_out(digests: list[dict[str, str]]) -> None:
    forms = [name.partition("/")[0].split("-", 3)[3] for name in digests[0]]
    assert set(forms) >= {
        "-".join(parts) for parts in product(("raw", "compact"), ("float32", "uint8"), SHAPES)
    }
    suffixes = {Path(name).suffix for name in digests[0]}
    assert suffixes == {".onnx", ".xml", ".bin"}
