"""Settings that are made before torch is imported."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from distill.training.process_settings import WAIT_SETTINGS, let_idle_threads_sleep

# What a training sees: the environment at the moment at which torch is imported.
CODE = """
import os, sys
class AtTorch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print(os.environ.get("OMP_WAIT_POLICY"), os.environ.get("GOMP_SPINCOUNT"), flush=True)
            os._exit(0)
sys.meta_path.insert(0, AtTorch())
from edgestill.cli.main import call
call(["distill", "demo", "--data", "no.yaml", "--dry-run"])
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
    assert done.stdout.splitlines()[-1] == seen


def test_the_module_imports_no_torch() -> None:
    code = "import distill.training.process_settings, sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
