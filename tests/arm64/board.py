"""An emulated ARM64 board with the files of a Jetson Orin Nano, behind ssh on the loopback interface.

    with started(Path("board")) as board:
        board.run("uname", "-m")

It is made of Debian's packages and of wheels, is run by QEMU's user emulation, and has neither a GPU nor
NVIDIA's libraries. Its speed says nothing about any board.
"""

from __future__ import annotations

import json
import os
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.arm64.debian import KEYRING, SYSTEM, extract, fetch_packages, host_architecture, unpack
from tests.arm64.jetson_files import KERNEL, write_jetson_files
from tests.arm64.supervisor import QEMU
from tests.arm64.wheels import ROOT, build_project_wheel, fetch_wheels

PYTHON, GLIBC = "3.11", 36  # of Debian 12
HOST = "127.0.0.1"
#: Virtual environment with the system's packages visible, as the documents tell for a Jetson.
SYSTEM_VENV = "/opt/edgestill"
#: Virtual environment of pip's packages alone, as for a Raspberry Pi.
OWN_VENV = "/opt/own"
#: What is installed into each, after the project's wheel. The system's OpenCV was built for NumPy 1.
INSTALLED = {SYSTEM_VENV: ("[onnx,web,eval]", "numpy<2"), OWN_VENV: ("[onnx,opencv]",)}
STATE = "board.json"
START_S, STOP_S = 120.0, 30.0
_PROGRAMS = (
    "apt-get",
    "chroot",
    "dpkg",
    "dpkg-deb",
    "git",
    "gpgv",
    "mount",
    "ssh",
    "ssh-keygen",
    "tar",
    "unshare",
)
_ACCOUNTS = {
    "passwd": "root:x:0:0:root:/root:/bin/bash\nsshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n"
    "nobody:x:65534:65534::/:/usr/sbin/nologin\n",
    "group": "root:x:0:\ntty:x:5:\nvideo:x:44:\nnogroup:x:65534:\n",
}
_SSHD = f"""\
ListenAddress {HOST}
PermitRootLogin prohibit-password
HostKey /etc/ssh/host
UsePAM no
SetEnv LANG=C.UTF-8 OMP_NUM_THREADS=1 QEMU_UNAME={KERNEL}
Subsystem sftp /usr/lib/openssh/sftp-server
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """A board that runs.

    Attributes:
        folder: The folder with its root file system, key and log.
        host: Address.
        port: Port of sshd.
        user: Name to log in with.
        key: File of the private key.
        pid: Process number of its supervisor.
        process: The supervisor, if this process started it.
    """

    folder: Path
    host: str
    port: int
    user: str
    key: Path
    pid: int
    process: subprocess.Popen[bytes] | None = field(default=None, compare=False, repr=False)

    @property
    def root(self) -> Path:
        """Its root file system on this machine."""
        return self.folder / "root"

    @property
    def ssh(self) -> tuple[str, ...]:
        """The command that logs in, without a command to run there."""
        options = (
            "BatchMode=yes",
            "LogLevel=ERROR",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
        )
        flags = [word for option in options for word in ("-o", option)]
        where = ("-i", str(self.key), "-p", str(self.port), f"{self.user}@{self.host}")
        return ("ssh", "-F", "none", *flags, *where)

    def run(self, *words: str, timeout_s: float = 600) -> subprocess.CompletedProcess[str]:
        """Run a command there; a status other than 0 is the caller's to judge.

        Raises:
            subprocess.TimeoutExpired: It takes longer.
        """
        command = [*self.ssh, shlex.join(words)]
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s, check=False
        )


def missing_here() -> str | None:
    """What this machine lacks for the board, in two lines; None if nothing."""
    lacking = [name for name in _PROGRAMS if shutil.which(name) is None]
    lacking += [] if KEYRING.exists() else [str(KEYRING)]
    if sys.platform == "linux" and os.geteuid() == 0 and not lacking:
        return None
    what = f"{', '.join(lacking)} missing" if lacking else "that needs root, and Linux"
    hint = (
        "as root on Debian or Ubuntu: apt install debian-archive-keyring git gpgv openssh-client util-linux"
    )
    return f"the emulated ARM64 board cannot run here: {what}\n  hint: {hint}"


def make(folder: Path) -> None:
    """Make the root file system: Debian, the Jetson's files, the wheels, keys. Nothing runs emulated."""
    folder.mkdir(parents=True)
    root = folder / "root"
    (qemu,) = (
        path
        for path in fetch_packages(["qemu-user-static"], host_architecture(), folder / "host-packages")
        if path.name.startswith("qemu-user-static_")
    )
    extract(qemu, folder, f"./usr/bin/{QEMU}")
    (folder / "usr/bin" / QEMU).rename(folder / QEMU)
    unpack(fetch_packages(SYSTEM, "arm64", folder / "packages"), root)
    write_jetson_files(root)
    for name in ("dev", "opt/wheels", "root/.ssh", "run/sshd", "tmp", "var/log"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for name, text in {**_ACCOUNTS, "ssh/board.conf": _SSHD}.items():
        (root / "etc" / name).write_text(text)
    wheel = build_project_wheel(root / "opt/wheels")
    for requirements in INSTALLED.values():
        names = [f"{wheel}{word}" if word.startswith("[") else word for word in requirements]
        fetch_wheels(names, root / "opt/wheels", python=PYTHON, glibc=GLIBC)
    for key in (folder / "key", root / "etc/ssh/host"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    shutil.copyfile(folder / "key.pub", root / "root/.ssh/authorized_keys")
    for place, mode in (("root", 0o700), ("root/.ssh", 0o700), ("run/sshd", 0o755), ("tmp", 0o1777)):
        os.chown(root / place, 0, 0)
        (root / place).chmod(mode)
    for name in ("packages", "host-packages", "usr"):
        shutil.rmtree(folder / name)


def start(folder: Path, *, detached: bool) -> Board:
    """Start the board of a folder.

    Args:
        folder: What ``make`` made.
        detached: Whether it stays when this process ends.

    Raises:
        RuntimeError: It does not answer; the message has the end of its log.
    """
    port = _free_port()
    command = ["unshare", "--mount", sys.executable, "-m", "tests.arm64.supervisor", str(folder), str(port)]
    log = folder / "supervisor.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, *(["--detached"] if detached else [])],
            cwd=ROOT,
            stdin=subprocess.DEVNULL if detached else subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C in a terminal is for the tests, which then end the board
        )
    key = folder / "key"
    board = Board(folder=folder, host=HOST, port=port, user="root", key=key, pid=process.pid, process=process)
    until = time.monotonic() + START_S
    while not answers(board):
        if process.poll() is not None or time.monotonic() > until:
            stop(board)
            raise RuntimeError(f"the board does not answer: {log.read_text()[-1000:]}")
        time.sleep(0.2)
    (folder / STATE).write_text(json.dumps(facts(board), indent=1))
    return board


def facts(board: Board) -> dict[str, str | int]:
    """How to reach a board, as plain data."""
    place = {"folder": str(board.folder), "host": board.host, "port": board.port, "user": board.user}
    return {**place, "key": str(board.key), "pid": board.pid}


def read_board(folder: Path) -> Board:
    """The board that was started in a folder.

    Raises:
        FileNotFoundError: None was.
    """
    found = json.loads((folder / STATE).read_text())
    return Board(**{**found, "folder": Path(found["folder"]), "key": Path(found["key"])})


def install(board: Board) -> None:
    """Make both virtual environments on the board, with its own Python and pip, as a user would.

    Raises:
        RuntimeError: A command fails; the message has what it printed.
    """
    (wheel,) = (board.root / "opt/wheels").glob("edgestill-*.whl")
    # pip itself is installed into the first one only: emulated, that takes a minute.
    pip = [f"{SYSTEM_VENV}/bin/pip", "--quiet", "--disable-pip-version-check"]
    where = ["--no-index", "--find-links", "/opt/wheels"]
    for venv, (extras, *others) in INSTALLED.items():
        flag = "--system-site-packages" if venv == SYSTEM_VENV else "--without-pip"
        packages = [f"/opt/wheels/{wheel.name}{extras}", *others]
        for command in (
            ["python3", "-m", "venv", flag, venv],
            [*pip, "--python", f"{venv}/bin/python", "install", "--no-compile", *where, *packages],
        ):
            done = board.run(*command, timeout_s=1200)
            if done.returncode != 0:
                raise RuntimeError(f"{shlex.join(command)}: {done.stdout[-500:]}{done.stderr[-2000:]}")


def stop(board: Board) -> None:
    """End a board that was started; returns when nothing of it runs any more.

    Raises:
        RuntimeError: It does not end.
    """
    (board.folder / STATE).unlink(missing_ok=True)
    try:
        supervisor = os.pidfd_open(board.pid)
    except ProcessLookupError:
        return
    try:
        if b"tests.arm64.supervisor" not in Path(f"/proc/{board.pid}/cmdline").read_bytes():
            return  # the number is another process's by now
        signal.pidfd_send_signal(supervisor, signal.SIGTERM)
        if not select.select([supervisor], [], [], STOP_S)[0]:
            raise RuntimeError(f"the board's process {board.pid} does not end")
    finally:
        os.close(supervisor)
    if board.process is not None:
        board.process.communicate()  # closes its pipe and takes its exit status


@contextmanager
def started(folder: Path) -> Iterator[Board]:
    """A board made, started and installed in a new folder; at the end all of it is removed."""
    try:
        make(folder)
        board = start(folder, detached=False)
        try:
            install(board)
            yield board
        finally:
            stop(board)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def answers(board: Board) -> bool:
    """Whether sshd greets."""
    try:
        with socket.create_connection((board.host, board.port), timeout=5) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
