"""Files that come from a device: whole, inside their folder, and in place of nothing."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgestill.errors import DeviceError, UsageError
from edgestill.remote.bundle_transfer import LocalBundle, send_bundle
from edgestill.remote.device import Device
from edgestill.remote.far_jobs import Step, run_job
from edgestill.remote.fetched import _is_inside, fetch_files
from edgestill.remote.transport import agent_bytes
from tests.edgestill.remote.conftest import Folder


def test_log_results_and_written_files_come(bundle: Path, device: Device, tmp_path: Path) -> None:
    send_bundle(LocalBundle.read(bundle), device)
    run_job(device, "run", [Step(name="run")], bundle=None)
    to = tmp_path / "new" / "here"
    found = fetch_files(device, to, job=None, force=False)
    assert (found["job"], found["verb"]) == (1, "run")
    assert found["files"] == [str(to / name) for name in ("log", "results/run.json", "out/crop.txt")]
    assert (to / "out" / "crop.txt").read_text() == "picture\n"
    assert [path.name for path in to.parent.iterdir()] == ["here"]
    with pytest.raises(UsageError, match="exists already"):
        fetch_files(device, to, job=None, force=False)
    (to / "mine").touch()
    fetch_files(device, to, job=1, force=True)
    assert not (to / "mine").exists()


def test_without_a_job_there_is_nothing(device: Device, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no job of yours"):
        fetch_files(device, tmp_path / "here", job=None, force=False)
    assert not (tmp_path / "here").exists()


def answering(monkeypatch: pytest.MonkeyPatch, *lines: Any, data: bytes = b"") -> None:
    """Puts another program in the agent's place."""
    text = "".join(json.dumps(line) + "\n" for line in lines).encode()
    program = (
        "import sys; sys.stdin.buffer.readline(); out = sys.stdout.buffer\n"
        f"out.write(b'edgestill-agent 1\\n' + {text!r} + {data!r}); out.flush()\n"
    ).encode()
    monkeypatch.setattr("edgestill.remote.device.agent_bytes", lambda: b"%d\n" % len(program) + program)
    assert agent_bytes() != program


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "", "a//b", ".", "x\0y"])
def test_a_name_that_leads_elsewhere_is_refused(
    name: str, device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, {"file": name, "bytes": 1, "sha256": sha256(b"x").hexdigest()}, data=b"x")
    with pytest.raises(DeviceError, match="sends a file"):
        fetch_files(device, tmp_path / "here", job=1, force=False)
    assert [path.name for path in tmp_path.iterdir()] == ["home of the board"]


def test_a_file_that_changed_on_its_way_is_not_kept(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, {"file": "log", "bytes": 1, "sha256": "0" * 64}, data=b"x")
    with pytest.raises(DeviceError, match="log changed on its way"):
        fetch_files(device, tmp_path / "here", job=1, force=False)
    assert [path.name for path in tmp_path.iterdir()] == ["home of the board"]


@given(st.text(max_size=20) | st.from_regex(r"\A[./a]{0,9}\Z"))
def test_what_is_inside_stays_inside(name: str) -> None:
    if _is_inside(name):
        assert (Path("/a/b") / name).is_relative_to("/a/b")
        assert ".." not in Path(name).parts


def test_a_device_cannot_steer_the_terminal(
    bundle: Path, device: Device, board: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    send_bundle(LocalBundle.read(bundle), device)
    folder = next((board.home / ".edgestill-remote" / "bundles").iterdir())
    (folder / "run.sh").write_text("printf 'a\\033]0;x\\007b\\r\\033[1;31mc\\033[m\\n' >&2\n")
    run_job(device, "verify", [Step(name="verify")], bundle=None)
    assert "me@board | a?]0;x?b\nme@board | c\n" in capsys.readouterr().err
