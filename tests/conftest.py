"""What all tests share."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# Two cores and several test processes: a pool per process would only fight the others.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real traffic-light images, which is no part of the project."""
    folder = Path(os.environ.get("EDGESTILL_REAL_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"the real images are not at {folder} (set EDGESTILL_REAL_DATA)")
    return folder
