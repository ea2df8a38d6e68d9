"""Completion as a shell asks for it: argcomplete's variables in the environment, the words in a file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from devices.profile import profile_names
from edgestill.cli.main import VERBS

SEPARATOR = "\013"


def request(line: str, answer: Path) -> dict[str, str]:
    """The environment in which a shell asks for what comes behind a line."""
    return {
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": SEPARATOR,
        "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
        "_ARGCOMPLETE_SUPPRESS_SPACE": "1",
        "COMP_LINE": line,
        "COMP_POINT": str(len(line.encode())),
        "COMP_TYPE": "9",
    }


def words(answer: Path) -> set[str]:
    return {word.strip() for word in answer.read_text().split(SEPARATOR) if word.strip()}


def completions(line: str, cwd: Path, answer: Path) -> set[str]:
    """What a shell offers behind a line."""
    environment = {**os.environ, **request(line, answer)}
    subprocess.run(
        [sys.executable, "-m", "edgestill"], env=environment, cwd=cwd, check=False, capture_output=True
    )
    return words(answer)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("folder")
    for name in ("street.onnx", "street.xml", "notes.txt", "data.yaml", "mine.toml", "a.json", "clip.mp4"):
        (path / name).touch()
    (path / "runs").mkdir()
    return path


OFFERS = [
    ("edgestill be", {"bench"}),
    ("edgestill bundle student --for aar", {"aarch64"}),
    ("edgestill run stu", {"student"}),
    ("edgestill run t", {"teacher"}),
    ("edgestill run l", set()),
    ("edgestill run student --lights l", {"light-states"}),
    ("edgestill run student --lights str", {"street.onnx", "street.xml"}),
    ("edgestill export l", {"light-states"}),
    ("edgestill inspect l", {"light-states"}),
    ("edgestill run st", {"student", "street.onnx", "street.xml"}),
    ("edgestill bench student str", {"street.onnx", "street.xml"}),
    ("edgestill distill traffic-lights-", {"traffic-lights-qat", "traffic-lights-teacher"}),
    ("edgestill distill m", {"mine.toml", "mkd-coco"}),
    ("edgestill study str", {"street", "street-evidence", "street-tuning"}),
    ("edgestill eval student --data d", {"data.yaml"}),
    ("edgestill eval student --backend o", {"ort", "ov"}),
    ("edgestill export student --to tensorrt-", {"tensorrt-rtx"}),
    ("edgestill data conv", {"convert"}),
    ("edgestill data convert co", {"coco"}),
    ("edgestill run student --source ", {"clip.mp4", "runs/"}),
    ("edgestill run student --save-c", {"--save-crops", "--save-conf"}),
    ("edgestill data plots --out r", {"runs/"}),
    ("edgestill devices --qu", {"--quiet"}),
]

#: Answers many lines in forks of one process, as each would be answered by a process of its own.
IN_FORKS = """
import json, os, sys
from edgestill.cli.main import run

for environment in json.load(sys.stdin):
    child = os.fork()
    if child == 0:
        os.environ.update(environment)
        sys.argv = ["edgestill"]
        run()
    os.waitpid(child, 0)
"""


@pytest.fixture(scope="module")
def offered(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """What a shell offers behind each line of ``OFFERS``."""
    answers = {line: tmp_path_factory.mktemp("answers") / "answer" for line, _ in OFFERS}
    requests = json.dumps([request(line, answer) for line, answer in answers.items()])
    subprocess.run(
        [sys.executable, "-c", IN_FORKS],
        input=requests,
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    )
    return {line: words(answer) for line, answer in answers.items()}


@pytest.mark.parametrize(("line", "wanted"), OFFERS)
def test_the_shell_offers_what_the_argument_takes(
    line: str, wanted: set[str], offered: dict[str, set[str]]
) -> None:
    assert offered[line] == wanted


def test_all_verbs_and_all_devices_are_offered(folder: Path, tmp_path: Path) -> None:
    assert set(VERBS.names()) <= completions("edgestill ", folder, tmp_path / "verbs")
    assert set(profile_names()) | {"here"} <= completions("edgestill devices ", folder, tmp_path / "devices")


def test_without_a_request_nothing_of_it_is_imported(folder: Path) -> None:
    call = "from edgestill.cli.main import main; main(['--version'])"
    code = f"{call}; import sys; print('argcomplete' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, check=True, capture_output=True, text=True
    )
    assert done.stdout.split()[-1] == "False"
