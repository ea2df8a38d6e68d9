"""The examples run as they are written."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def test_the_embedding_example_finds_what_the_model_finds(tiny_model: Path, tmp_path: Path) -> None:
    image = tmp_path / "street.png"
    cv2.imwrite(str(image), np.zeros((32, 32, 3), np.uint8))
    done = subprocess.run(
        [sys.executable, EXAMPLES / "01_detect_in_your_program.py", tiny_model, image],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "0: red 0.81 at 12 8 20 24\n"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_every_example_says_how_to_run_it(path: Path) -> None:
    assert f"python examples/{path.name}" in path.read_text("utf-8")
