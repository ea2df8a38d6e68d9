"""Each verb does what is missing of those before it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgestill.errors import DeviceError, UsageError
from edgestill.remote import loop
from edgestill.remote.device import Device, this_user
from edgestill.remote.loop import Request
from edgestill.remote.transport import agent_bytes
from tests.edgestill.remote.conftest import Folder, bundle_there, make_bundle


def test_bench_does_all_that_is_missing_and_brings_the_report(
    bundle: Path, device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = loop.bench(device, Request(bundle=bundle, words=("--duration-s", "1")))
    assert (found["kind"], found["host"], found["job"]) == ("remote-bench", "me@board", 1)
    assert found["sent_bytes"] > 0
    assert sorted(found["steps"]) == ["bench", "install", "verify"]
    assert found["skipped"] == {"build": "there is no TensorRT", "layers": "there is no engine"}
    assert found["files"][0] == "board-bench-1/log"
    assert all(Path(name).is_file() for name in found["files"])

    again = loop.bench(device, Request())  # what is there
    assert (again["sent_bytes"], again["job"]) == (0, 2)
    assert again["skipped"]["install"] == "done before"
    assert again["files"][0] == "board-bench-2/log"


def test_a_folder_that_exists_is_refused_before_anything_is_done(
    bundle: Path, device: Device, board: Folder, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="exists already"):
        loop.bench(device, Request(bundle=bundle, to=tmp_path))
    assert list(board.home.iterdir()) == []


def test_a_bundle_for_another_machine_is_not_sent(device: Device, board: Folder, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="the bundle is for riscv64"):
        loop.deploy(device, Request(bundle=make_bundle(tmp_path / "x.tar", machine="riscv64")))
    assert list(board.home.iterdir()) == []


def test_run_forwards_the_web_view(bundle: Path, device: Device, board: Folder, tmp_path: Path) -> None:
    loop.deploy(device, Request(bundle=bundle))
    there = bundle_there(board)
    (there / "port").write_text("41234")
    found = loop.run(device, Request(words=("--source", "csi://0"), to=tmp_path / "here"), web_port=8080)
    assert board.forwards == [(41234, 8080)]
    assert (there / "words-run").read_text().splitlines()[1:] == [
        "--source",
        "csi://0",
        "--web",
        "127.0.0.1:0",
    ]
    assert str(tmp_path / "here" / "out" / "crop.txt") in found["files"]


def test_the_address_of_the_web_view_has_the_port_here_and_the_token(
    board: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    forward = loop.WebForward(board, 0)
    forward.heard("web view: 1 connection")
    forward.connected()
    assert board.forwards == []
    forward.heard("web view: http://127.0.0.1:41234/?token=abc-_1")
    assert "web view here: http://127.0.0.1:4711/?token=abc-_1\n" in capsys.readouterr().err
    forward.connected()  # again after a cut: the page that is open there goes on
    assert board.forwards == [(41234, 0), (41234, 4711)]
    forward.close()


@pytest.mark.parametrize(
    ("off_s", "words"),
    [
        (0.0, None),
        (-500.0, None),
        (1000.0, "16.7 minutes ahead of"),
        (-7200.0, "2.0 hours behind"),
        (-6 * 365.25 * 86400, "6.0 years behind"),
    ],
)
def test_a_clock_that_is_off_is_a_doubt(off_s: float, words: str | None) -> None:
    doubts = loop._clock_doubts({"unix_time_s": 1e9 + off_s}, "me@board", lambda: 1e9)
    assert [words in doubt for doubt in doubts if words] == ([True] if words else [])
    assert all("timedatectl" in doubt for doubt in doubts)


def test_a_device_whose_clock_is_years_off_is_measured_all_the_same(
    bundle: Path, device: Device, board: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A board without a battery for its clock, which begins in 1970."""
    program = agent_bytes().partition(b"\n")[2]
    in_1970 = (
        b"import datetime\n"
        b"class Early(datetime.datetime):\n"
        b"    now = classmethod(lambda cls, zone=None: cls.fromtimestamp(60, zone))\n"
        b"datetime.datetime = Early\n"
    )
    early = in_1970 + program
    monkeypatch.setattr("edgestill.remote.device.agent_bytes", lambda: b"%d\n" % len(early) + early)
    found = loop.bench(device, Request(bundle=bundle, to=tmp_path / "here"))
    assert found["steps"]["bench"]["verb"] == "bench"
    (doubt,) = found["doubts"]
    assert "years behind that of this machine" in doubt
    assert loop.doctor(device)["jobs"][0]["since"] == "1970-01-01 00:01:00 UTC"


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"machine": "aarch64", "pythons": {"3.8": "/p"}}, ["has Python 3.8; edgestill needs 3.10"]),
        ({"machine": "aarch64", "pythons": {}}, ["has Python none"]),
        ({"machine": "armv7l", "pythons": {"3.11": "/p"}}, ["is armv7l: there are no packages"]),
        ({"machine": "x86_64", "pythons": {"3.6": "/p", "3.12": "/q"}}, []),
        ({"machine": "x86_64", "pythons": {"3.14": "/q"}}, ["has Python 3.14"]),
    ],
)
def test_what_keeps_a_device_from_being_used_is_told(facts: dict[str, Any], words: list[str]) -> None:
    found = loop._problems(facts, "me@board")
    assert [word in one["what"] for word, one in zip(words, found, strict=True)] == [True] * len(words)


def test_the_lock_has_a_name() -> None:
    user, at, machine = this_user().partition("@")
    assert (bool(user), at, bool(machine)) == (True, "@", True)
