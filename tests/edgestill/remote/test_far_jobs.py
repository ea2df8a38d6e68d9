"""Jobs: they outlive the connection, are found again, belong to one person, and end as they are told to."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from edgestill.errors import DeviceError, UsageError, VerificationError
from edgestill.remote.bundle_transfer import LocalBundle, send_bundle
from edgestill.remote.device import Device
from edgestill.remote.far.places import read_json
from edgestill.remote.far_jobs import EndedJob, Step, run_job
from tests.edgestill.remote.conftest import Folder, bundle_there, make_bundle

BENCH = (Step(name="install"), Step(name="bench", words=("--duration-s", "1")))


@pytest.fixture
def there(bundle: Path, device: Device, board: Folder) -> Path:
    """The folder of a deployed bundle."""
    send_bundle(LocalBundle.read(bundle), device)
    return bundle_there(board)


class Reader:
    """Hears the log, and does something at a line."""

    def __init__(self, line: str = "", act: Callable[[], None] | None = None) -> None:
        self.lines: list[str] = []
        self.connections = 0
        self._line, self._act = line, act

    def connected(self) -> None:
        self.connections += 1

    def heard(self, line: str) -> None:
        self.lines.append(line)
        if line == self._line and self._act is not None:
            act, self._act = self._act, None
            act()


def bench(device: Device, reader: Reader | None = None, steps: Sequence[Step] = BENCH) -> EndedJob:
    return run_job(device, "bench", steps, bundle=None, listener=reader, ask=lambda _: False)


def wait_for(what: Callable[[], object]) -> None:
    until = time.monotonic() + 60
    while not what():
        assert time.monotonic() < until
        time.sleep(0.02)


def jobs(board: Folder) -> Path:
    return board.home / ".edgestill-remote" / "jobs"


def test_steps_are_done_in_order_and_their_results_come_back(there: Path, device: Device) -> None:
    reader = Reader()
    found = bench(device, reader)
    assert (found.number, found.was_stopped, found.skipped) == (1, False, {})
    assert sorted(found.results) == ["bench", "install"]
    assert found.results["bench"]["verb"] == "bench"
    assert reader.lines == ["install ...", "install begins", "bench ...", "bench begins"]
    words = (there / "words-bench").read_text().splitlines()
    assert words == [str(there / "models/tiny/tiny.onnx"), "--duration-s", "1"]
    device.ask("collected", job=1)
    assert bench(device).skipped == {"install": "done before"}


def test_a_step_that_fails_is_its_own_error_and_a_second_try_succeeds(there: Path, device: Device) -> None:
    (there / "fail-bench").write_text("noise\nrun.sh verify: 2 boxes differ\n  hint: look at the libraries\n")
    with pytest.raises(VerificationError, match="on me@board: 2 boxes differ") as caught:
        bench(device)
    assert caught.value.hint == "look at the libraries"
    (there / "fail-bench").write_text("Traceback\n  File x\nZeroDivisionError: division by zero\n")
    with pytest.raises(VerificationError, match="division by zero") as caught:
        bench(device)
    assert caught.value.hint == "fetch brings the log"
    (there / "fail-bench").unlink()
    assert bench(device).results["bench"]


@pytest.mark.parametrize("verb", ["install", "build", "bench"])
def test_a_cut_in_the_middle_loses_nothing(verb: str, there: Path, device: Device, board: Folder) -> None:
    hold = there / f"hold-{verb}"
    hold.touch()

    def cut() -> None:
        assert board.process is not None
        board.process.kill()
        hold.unlink()

    reader = Reader(f"{verb} begins", cut)
    names = ("install", "build", "bench")
    found = bench(device, reader, [Step(name=name, if_missing=False) for name in names])
    assert sorted(found.results) == sorted(names)
    assert reader.connections == 2
    assert reader.lines == [line for name in names for line in (f"{name} ...", f"{name} begins")]


def test_the_same_command_finds_the_job_that_goes_on_and_its_log_where_it_stopped(
    there: Path, device: Device, board: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    hold = there / "hold-bench"
    hold.touch()

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="the bench goes on on me@board"):
        bench(device, Reader("bench begins", interrupt))
    assert "bench begins" in capsys.readouterr().err
    threading.Timer(0.3, hold.unlink).start()
    found = bench(device)
    shown = capsys.readouterr().err
    assert found.number == 1
    assert "job 1 (bench) of yours is running" in shown
    assert "install begins" not in shown


def test_a_job_that_ended_meanwhile_is_collected_once(there: Path, device: Device, board: Folder) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bench(device, Reader("bench begins", interrupt))
    wait_for(lambda: (read_json(jobs(board) / "1" / "state.json") or {}).get("state") == "done")
    assert bench(device).number == 1
    device.ask("collected", job=1)
    assert bench(device).number == 2


def test_two_people_get_a_lock_with_a_name(there: Path, device: Device, other: Device) -> None:
    hold = there / "hold-bench"
    hold.touch()

    def meanwhile() -> None:
        with pytest.raises(DeviceError, match=r"bench of anna@laptop runs there since \d{4}-") as caught:
            run_job(other, "verify", BENCH, bundle=there.name)
        assert "agree with anna@laptop" in caught.value.hint
        with pytest.raises(DeviceError, match="bench of anna@laptop"):
            other.ask("clean")
        with pytest.raises(DeviceError, match="bench of anna@laptop"):  # another command of the same person
            run_job(device, "verify", BENCH, bundle=None)
        assert device.ask("facts", python=None)["lock"]["owner"] == "anna@laptop"
        hold.unlink()

    assert bench(device, Reader("bench begins", meanwhile)).number == 1
    assert device.ask("facts", python=None)["lock"] is None


def test_ctrl_c_asks_once_and_stops_the_job(there: Path, device: Device, board: Folder) -> None:
    (there / "hold-bench").touch()
    questions: list[str] = []

    def interrupt() -> None:
        raise KeyboardInterrupt

    def yes(question: str) -> bool:
        questions.append(question)
        return True

    reader = Reader("bench begins", interrupt)
    found = run_job(device, "bench", BENCH, bundle=None, listener=reader, ask=yes)
    assert found.was_stopped
    assert questions == ["stop the bench on me@board, too? [y/N] "]
    state = read_json(jobs(board) / "1" / "state.json")
    assert state["state"] == "stopped"
    with pytest.raises(ProcessLookupError):
        os.killpg(state["group"], 0)


def test_a_killed_job_is_told_and_what_it_left_is_ended(there: Path, device: Device, board: Folder) -> None:
    """As when memory runs out on the device."""
    (there / "hold-bench").touch()

    def kill() -> None:
        os.kill(device.ask("facts", python=None)["lock"]["pid"], signal.SIGKILL)

    with pytest.raises(DeviceError, match="on me@board: the job was interrupted") as caught:
        bench(device, Reader("bench begins", kill))
    assert caught.value.hint == "repeat the command"
    left = read_json(jobs(board) / "1" / "state.json")["group"]
    os.killpg(left, 0)  # the step itself still runs
    (there / "hold-bench").unlink()
    assert bench(device).number == 2


def test_clean_stops_the_job_and_leaves_nothing(there: Path, device: Device, board: Folder) -> None:
    (there / "hold-bench").touch()
    groups: list[int] = []

    def clean() -> None:
        groups.append(read_json(jobs(board) / "1" / "state.json")["group"])
        assert device.ask("clean")["stopped_job"] == 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bench(device, Reader("bench begins", clean))
    assert list(board.home.iterdir()) == []
    with pytest.raises(ProcessLookupError):
        os.killpg(groups[0], 0)
    assert device.ask("clean") == {"removed": None, "stopped_job": None, "left_for": []}


def test_clean_leaves_what_is_of_others(there: Path, device: Device, other: Device, board: Folder) -> None:
    run_job(device, "verify", [Step(name="verify")], bundle=None)
    run_job(other, "verify", [Step(name="verify")], bundle=there.name)
    board_folder = board.home / ".edgestill-remote"
    (board_folder / "owners.json").write_text(
        f'{{"anna@laptop": "{there.name}", "ben@desk": "{there.name}"}}'
    )
    assert device.ask("clean")["left_for"] == ["ben@desk"]
    assert there.exists()
    assert [path.name for path in jobs(board).iterdir()] == ["2"]
    assert other.ask("clean")["left_for"] == []
    assert list(board.home.iterdir()) == []


def test_an_unknown_model_is_refused_before_anything_runs(there: Path, device: Device, board: Folder) -> None:
    with pytest.raises(UsageError, match="has no model 'tini'") as caught:
        bench(device, steps=[Step(name="bench", models=("tini",))])
    assert caught.value.hint == "known: tiny"
    assert not jobs(board).exists()


def test_of_several_models_a_run_needs_one(device: Device, tmp_path: Path) -> None:
    send_bundle(LocalBundle.read(make_bundle(tmp_path / "two.tar", names=("a", "b"))), device)
    with pytest.raises(UsageError, match="several models") as caught:
        run_job(device, "run", [Step(name="run")], bundle=None)
    assert caught.value.hint == "name one of: a, b"


@pytest.mark.slow
def test_only_the_last_jobs_of_a_person_are_kept(there: Path, device: Device, board: Folder) -> None:
    for number in range(5):
        bench(device, steps=[Step(name="verify", words=(str(number),))])
    assert sorted(path.name for path in jobs(board).iterdir()) == ["2", "3", "4", "5"]
