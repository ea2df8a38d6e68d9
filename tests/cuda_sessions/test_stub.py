"""Our own CUDA calls on a stand-in of libcuda, built with gcc; ``make check-pycuda`` adds pycuda."""

import shutil
from pathlib import Path

import pytest

from tests.cuda_sessions.__main__ import build_stub, run


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc builds the stand-in")
def test_our_own_calls_hold_on_a_library_in_c(tmp_path: Path) -> None:
    assert run(build_stub(tmp_path), [], []) == []
