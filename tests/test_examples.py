"""The examples run as they are written."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgestill.cli.main import verb_parser

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


def test_the_watching_example_tells_of_each_object_once(tiny_model: Path, tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / str(number)).mkdir()
        for frame in range(30):
            cv2.imwrite(str(tmp_path / str(number) / f"{frame}.png"), np.zeros((32, 32, 3), np.uint8))
    sources = [tmp_path / str(number) for number in (1, 2)]
    done = subprocess.run(
        [sys.executable, EXAMPLES / "02_watch_sources.py", tiny_model, *sources],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert [
        len([line for line in lines if re.fullmatch(rf"{number} \d\.\d\d s: #1 is red", line)])
        for number in (1, 2)
    ] == [1, 1]


UNIT = EXAMPLES / "edgestill.service"


def test_the_unit_starts_a_command_that_exists() -> None:
    text = UNIT.read_text("utf-8").replace("\\\n", " ")
    (line,) = re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)
    words = shlex.split(line.replace("%S", "/var/lib"))
    assert words[:2] == ["/opt/edgestill/bin/edgestill", "run"]
    parsed = verb_parser("run").parse_args(words[2:])
    assert parsed.source == ["csi://0"]
    assert parsed.save.parent == parsed.events.parent == Path("/var/lib/edgestill")
    assert parsed.segment_minutes is not None  # else the second start is refused


def test_systemd_takes_the_unit_as_it_is() -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed here")
    done = subprocess.run([program, "verify", UNIT], capture_output=True, text=True, check=False)
    said = [
        line for line in done.stderr.splitlines() if "/opt/edgestill" not in line
    ]  # is not installed here
    assert said == []


@pytest.mark.parametrize("name", ["03_ros2_node.py", "Containerfile.jetpack6"])
def test_what_was_never_run_says_so(name: str) -> None:
    assert "has not been" in (EXAMPLES / name).read_text("utf-8")
