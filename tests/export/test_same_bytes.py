"""Every export, repeated, is the same bytes: each kind of file of each head, in all forms, twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from itertools import product
from pathlib import Path

import pytest

HEADS = ("coupled", "decoupled", "dfl")
SOME_ARE_SLOW = ("coupled", *(pytest.param(head, marks=pytest.mark.slow) for head in HEADS[1:]))
Digests = Callable[[str], list[dict[str, str]]]
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
def digests_of(tmp_path_factory: pytest.TempPathFactory) -> Digests:
    """SHA-256 by file of a head, of two processes in which sets have another order."""

    @cache
    def digests(head: str) -> list[dict[str, str]]:
        started = [_started(tmp_path_factory.mktemp(seed), head, seed) for seed in ("1", "2")]
        return [_written(process) for process in started]

    return digests


def _started(folder: Path, head: str, seed: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(HERE.parents[1])}
    command = [sys.executable, str(HERE / "every_form.py"), str(folder), head]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment)


def _written(process: subprocess.Popen[str]) -> dict[str, str]:
    told, complaints = process.communicate()
    assert process.returncode == 0, complaints[-2000:]
    found: dict[str, str] = json.loads(told)
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("head", SOME_ARE_SLOW)
def test_two_exports_give_the_same_bytes(head: str, kind: str, digests_of: Digests) -> None:
    first, second = (
        {name: digest for name, digest in found.items() if name.startswith(f"{head}-{kind}-")}
        for found in digests_of(head)
    )
    assert len(first) >= 1
    assert first == second


@pytest.mark.slow
def test_no_form_was_left_out(digests_of: Digests) -> None:
    names = [name for head in HEADS for name in digests_of(head)[0]]
    forms = [name.partition("/")[0].split("-", 3)[3] for name in names]
    assert set(forms) >= {
        "-".join(parts) for parts in product(("raw", "compact"), ("float32", "uint8"), SHAPES)
    }
    suffixes = {Path(name).suffix for name in names}
    assert suffixes == {".onnx", ".xml", ".bin"}
