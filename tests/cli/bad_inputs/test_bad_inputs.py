"""Generated bad inputs over all verbs end in their exit code and two lines, see ``__main__.py``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
#: Some that need no training and no export.
QUICK = (
    *(
        "run-onnx-0",
        "inspect-onnx-0",
        "inspect-ckpt-0",
        "check-0",
        "check-1",
        "eval-0",
        "recipe-0",
        "study-0",
    ),
    *("coco-0", "voc-0", "path0-0", "path4-0", "path29-0", "number0-0", "size0-0"),
)


def run(*words: str) -> dict[str, Any]:
    """The last line of a run; the test fails with what it printed if a case fails."""
    command = [sys.executable, "-m", "tests.cli.bad_inputs", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-2000:]}"
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_some_bad_inputs_end_well() -> None:
    assert run("--only", *QUICK, "--jobs", "1")["cases"] == len(QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_all_bad_inputs_end_well(seed: int) -> None:
    found = run("--seed", str(seed), "--jobs", "2")
    assert found["cases"] >= 300
    assert set(found["codes"]) <= {"0", "2", "3", "4", "5", "6"}
    assert {"2", "3", "4"} <= set(found["codes"])  # that the inputs are bad


def test_the_judge_sees_a_traceback_a_wrong_code_a_bad_message_and_a_hang() -> None:
    """The judge on outcomes as a broken verb would give them."""
    code = """
from tests.cli.bad_inputs.__main__ import judge
from tests.cli.bad_inputs.cases import Case
case = Case(name="x", words=("run", "a"))
good = "edgestill run: a is missing\\n  hint: give another\\n"
assert judge(case, 4, good, "") == []
assert judge(case, 0, "", "") == []
assert judge(case, None, "Traceback (most recent call last):\\n  x", "") == ["exit code None", "a traceback"]
assert judge(case, 1, good, "") == ["exit code 1"]
assert judge(case, 4, "edgestill run: a is missing\\n", "") != []
assert judge(case, 4, "edgestill run: \\n  hint: x\\n", "") != []
assert judge(case, None, "", "did not end in 9 s") == ["did not end in 9 s"]
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
