"""Settings that are made before torch is imported."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from distill.training.process_settings import WAIT_SETTINGS, let_idle_threads_sleep

# What a training sees: torch has read the environment by then, and is not imported too early.
CODE = """
import sys
from edgestill.cli.main import call
call(["distill", "demo", "--data", "no.yaml", "--dry-run"])
import os
print(os.environ.get("OMP_WAIT_POLICY"), os.environ.get("GOMP_SPINCOUNT"))
"""


def test_idle_threads_sleep_unless_the_user_says_otherwise() -> None:
    environment: dict[str, str] = {}
    let_idle_threads_sleep(environment)
    assert environment == {"OMP_WAIT_POLICY": "passive"}


@pytest.mark.parametrize("name", WAIT_SETTINGS)
def test_a_setting_of_the_user_is_kept(name: str) -> None:
    environment = {name: "1"}
    let_idle_threads_sleep(environment)
    assert environment == {name: "1"}


@pytest.mark.parametrize(("given", "seen"), [({}, "passive None"), ({"GOMP_SPINCOUNT": "5"}, "None 5")])
def test_distill_makes_the_settings(given: dict[str, str], seen: str) -> None:
    kept = {name: value for name, value in os.environ.items() if name not in WAIT_SETTINGS}
    done = subprocess.run(
        [sys.executable, "-c", CODE], env={**kept, **given}, capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n")[-2] == seen


def test_the_module_imports_no_torch() -> None:
    code = "import distill.training.process_settings, sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
