"""Runs the emulated board: one process that holds all of it, and at whose end nothing is left.

    unshare --mount python -m tests.arm64.supervisor FOLDER PORT [--detached]

This process is in a mount namespace of its own, the board also in a process namespace: its mounts and
processes end with it. What may stay outside is the entry in binfmt_misc, by which the kernel runs ARM64
programs with QEMU; it has this process's number in its name, so that an entry whose process was killed is
found and removed at the next start. Without ``--detached`` the board ends when standard input is closed, thus
also when the process that started it dies. SIGTERM, SIGINT and SIGHUP end it, too.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from tests.arm64.jetson_files import REAL_PROC

QEMU = "qemu-aarch64-static"
BINFMT = Path("/proc/sys/fs/binfmt_misc")
PREFIX = "edgestill-arm64-"
#: The head of an ELF file for ARM64 (EM_AARCH64 = 183), and which of its bits count.
_MAGIC = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
_MASK = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
#: $1 is the root file system, $2 the port. This shell, then sshd, is the first process: all end with it.
_START = f"""
mount -t proc proc "$1/{REAL_PROC}"
mount --rbind /dev "$1/dev"
exec chroot "$1" /usr/sbin/sshd -D -p "$2" -f /etc/ssh/board.conf -E /var/log/sshd.log
"""


def main(folder: Path, port: str, *, detached: bool) -> int:
    """Run the board in ``folder`` until it is told to end; returns sshd's exit status, 0 if told."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _leave)
    with binfmt_entry(folder / QEMU):
        own = ("unshare", "--mount", "--pid", "--fork", "--kill-child")
        command = [*own, "sh", "-ec", _START, "sh", str(folder / "root"), port]
        board = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        try:
            ended = os.pidfd_open(board.pid)
            ready, _, _ = select.select([ended] if detached else [ended, sys.stdin], [], [])
            return board.wait() if ended in ready else 0
        finally:
            board.kill()  # unshare; --kill-child ends the first process of the namespace with it
            board.wait()


def _leave(number: int, frame: object) -> NoReturn:
    del number, frame
    sys.exit(0)


@contextmanager
def binfmt_entry(qemu: Path) -> Iterator[None]:
    """Have the kernel run ARM64 programs with ``qemu``.

    Flag F: the kernel opens the interpreter now, so that no copy of it is needed in the root file system.
    """
    # In this process's mount namespace. Since Linux 6.7 entries end with the last mount, before they stay.
    subprocess.run(["mount", "-t", "binfmt_misc", "none", BINFMT], check=True)
    for stale in BINFMT.glob(f"{PREFIX}*"):
        if not Path("/proc", stale.name.removeprefix(PREFIX)).exists():
            stale.write_text("-1")
    entry = BINFMT / f"{PREFIX}{os.getpid()}"
    (BINFMT / "register").write_text(f":{entry.name}:M::{_MAGIC}:{_MASK}:{qemu}:F")
    try:
        yield
    finally:
        entry.write_text("-1")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], detached="--detached" in sys.argv[3:]))
