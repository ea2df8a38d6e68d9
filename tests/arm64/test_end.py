"""Nothing of a board is left at its end, however its end comes about."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.arm64.board import Board, answers, read_board
from tests.arm64.supervisor import BINFMT, PREFIX, QEMU
from tests.arm64.wheels import ROOT

_HOLD = """
import sys
from pathlib import Path
from tests.arm64.board import start
board = start(Path(sys.argv[1]), detached=False)
print("started", flush=True)
sys.stdin.read()
"""
END_S = 30.0


@pytest.fixture
def second(board: Board, tmp_path: Path) -> Path:
    """The folder of another board with the same root file system."""
    for name in ("root", "key", QEMU):
        (tmp_path / name).symlink_to(board.folder / name)
    return tmp_path


def namespace_of(board: Board) -> str:
    """The process namespace of a board, which all that runs on it is in."""
    (unshare,) = Path(f"/proc/{board.pid}/task/{board.pid}/children").read_text().split()
    return str(Path(f"/proc/{unshare}/ns/pid_for_children").readlink())


def processes_of(folder: Path, namespace: str) -> list[str]:
    """Command lines of the running processes of a board: on it, and around it."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            is_on_it = str((place / "ns/pid").readlink()) == namespace
        except OSError:
            continue  # it has ended
        # The kernel's entry serves all boards of this machine: another one's programs, too, are run by QEMU
        # of this folder if they start meanwhile.
        is_around_it = str(folder) in words and not words.startswith(f"{folder}/{QEMU} ")
        found += [words] if is_on_it or is_around_it else []
    return found


@pytest.mark.parametrize("way", ["killed", "closed"])
def test_processes_mounts_and_the_kernels_entry_end_with_the_process_that_started_it(
    way: str, second: Path, board: Board
) -> None:
    command = [sys.executable, "-c", _HOLD, str(second)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "started\n"
        other = read_board(second)
        namespace = namespace_of(other)
        assert answers(other)
        assert other.run("uname", "-m").stdout == "aarch64\n"
        assert len(processes_of(second, namespace)) > 1  # the supervisor, and sshd on the board
        if way == "killed":
            holder.kill()
    until = time.monotonic() + END_S
    while processes_of(second, namespace) and time.monotonic() < until:
        time.sleep(0.2)
    assert processes_of(second, namespace) == []
    assert not answers(other)
    assert str(second) not in Path("/proc/mounts").read_text()
    look = f"mount -t binfmt_misc none {BINFMT}; ls {BINFMT}"
    entries = subprocess.run(
        ["unshare", "--mount", "sh", "-c", look], check=True, capture_output=True, text=True
    )
    assert f"{PREFIX}{other.pid}" not in entries.stdout.split()
    assert board.run("uname", "-m").stdout == "aarch64\n"  # the first one still runs
