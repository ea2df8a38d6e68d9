"""The command as a whole, with a stand-in for the package's Python: what is refused, what comes out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distill.profiling.against_ultralytics import arms
from distill.profiling.against_ultralytics.__main__ import main
from distill.profiling.against_ultralytics.compare import TrainingSpeed

INSTALLED = {"versions": {"ultralytics": "8.4.190", "torch": "2.15.0"}, "distils": True}
TRAINED = {
    "epochs": [{"seconds": 9.0, "images": 8}, {"seconds": 2.0, "images": 8}],
    "threads": 1,
    "optimiser": "AdamW",
}


@pytest.fixture
def python(tmp_path: Path) -> Callable[..., Path]:
    """Makes a program that answers as ``peer.py`` does, after the noise that a library makes on stdout.

    It is called with -I, the script and, to train, a job; its jobs end up in ``seen``, one a line.
    """

    def make(installed: dict[str, Any] = INSTALLED, trained: dict[str, Any] = TRAINED) -> Path:
        path, seen = tmp_path / "python", tmp_path / "seen"
        path.write_text(
            "#!/bin/sh\necho noise\n"
            f"if [ -z \"$3\" ]; then echo '{json.dumps(installed)}'; exit; fi\n"
            f'tr -d "\\n" < "$3" >> {seen}; echo >> {seen}\n'
            f"echo '{json.dumps(trained)}'\n"
        )
        path.chmod(0o755)
        return path

    return make


@pytest.fixture
def flags(data: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Flags of a short comparison in which our own training takes no time."""
    ours = TrainingSpeed(images_per_s=(1, 12), setup={"arithmetic": "cpu bf16", "threads": 2}, load=None)
    monkeypatch.setattr(arms, "run_ours", lambda *_: ours)
    return ["--data", str(data), "--size", "64", "--images", "8", "--rounds", "2", "--threads", "2"]


def test_the_result_is_json_with_ratios_machine_and_versions(
    python: Callable[..., Path], flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--peer-python", str(python()), *flags]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["pair"] == "yolov5nu <- yolov5su"
    assert result["images_per_s"]["ultralytics"] == {"median": 4, "by_round": [4, 4]}
    assert {ratio["median"] for ratio in result["times_as_fast_as"].values()} == {3}
    assert result["setup"]["ultralytics"] == {"threads": 1, "optimiser": "AdamW"}
    assert result["versions"]["ultralytics"]["ultralytics"] == "8.4.190"
    assert result["machine"]["cpu"]["model"]


def test_the_package_runs_as_it_comes_then_with_all_threads_then_in_bf16(
    python: Callable[..., Path], flags: list[str], tmp_path: Path
) -> None:
    main(["--peer-python", str(python()), *flags])
    jobs = [json.loads(line) for line in (tmp_path / "seen").read_text().splitlines()]
    assert [job["threads"] for job in jobs] == [0, 2, 2] * 2
    assert [job["settings"].get("amp") for job in jobs] == [None, None, "bf16"] * 2
    assert len({job["out"] for job in jobs}) == 6


def test_busy_trainings_follow_the_quiet_ones_of_a_round(
    python: Callable[..., Path], flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--peer-python", str(python()), *flags, "--busy", "1"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["busy_processes"] == 1
    assert set(result["images_per_s"]) == set(result["busy"]["images_per_s"]) == set(result["setup"])
    assert result["busy"]["of_quiet_speed"]["edgestill"] == {"median": 1, "by_round": [1, 1]}
    jobs = [json.loads(line) for line in (tmp_path / "seen").read_text().splitlines()]
    assert [job["threads"] for job in jobs] == [0, 2, 2] * 4


def test_a_python_that_is_not_there_is_a_wrong_flag(
    flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--peer-python", str(tmp_path / "nowhere"), *flags]) == 2
    assert "nowhere does not run" in capsys.readouterr().err


def test_a_python_without_the_package_is_told_how_to_get_it(
    flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = tmp_path / "bare"
    bare.write_text("#!/bin/sh\necho \"ModuleNotFoundError: No module named 'ultralytics'\" >&2\nexit 1\n")
    bare.chmod(0o755)
    assert main(["--peer-python", str(bare), *flags]) == 5
    err = capsys.readouterr().err
    assert "No module named 'ultralytics'" in err
    assert "pip install torch torchvision ultralytics" in err


@pytest.mark.slow
def test_a_training_of_ours_that_fails_says_why(
    python: Callable[..., Path],
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(arms, "recipe_text", lambda *_: "size = 1")
    assert main(["--peer-python", str(python()), "--data", str(data), "--rounds", "1"]) == 5
    err = capsys.readouterr().err
    assert "size" in err
    assert "edgestill doctor" in err


def test_a_package_that_cannot_distil_yet_is_refused(
    python: Callable[..., Path], flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    old = {"versions": {"ultralytics": "8.4.75"}, "distils": False}
    assert main(["--peer-python", str(python(old)), *flags]) == 5
    assert "8.4.75" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong", [["--epochs", "1"], ["--rounds", "0"], ["--threads", "-1"], ["--busy", "-1"]]
)
def test_numbers_that_make_no_comparison_are_refused(
    wrong: list[str], flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--peer-python", "python", *flags, *wrong]) == 2
    assert " ".join(wrong) in capsys.readouterr().err


def test_our_side_reads_the_speeds_that_the_training_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = tmp_path / "history.csv"
    history.write_text("epoch,images_per_s\n1,5.0\n2,20.0\n3,22.0\n")
    given: list[list[str]] = []

    def answer(command: list[str], environment: dict[str, str], *, hint: str, whole: bool) -> dict[str, Any]:
        given.append(command)
        return {"history": str(history), "arithmetic": "cpu bf16", "threads": 2}

    monkeypatch.setattr(arms, "answer", answer)
    monkeypatch.setattr(arms, "recipe_text", lambda *_: "")
    setting: Any = None
    outcome = arms.run_ours(setting, tmp_path, tmp_path)
    assert outcome.images_per_s == [5, 20, 22]
    assert given[0][1:4] == ["-m", "edgestill", "distill"]
