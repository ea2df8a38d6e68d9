"""The system's ssh: the user's configuration, keys and jump hosts, one connection for a whole command.

Source: ssh(1), ssh_config(5) of OpenSSH 9.2.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from edgestill.errors import DeviceError, UsageError
from edgestill.remote.remote_host import RemoteHost
from edgestill.remote.transport import COMMAND, NO_PYTHON

#: The command to use in place of ``ssh``, with options, as ``GIT_SSH_COMMAND`` is for git.
VARIABLE = "EDGESTILL_SSH"
OPTIONS = (
    "BatchMode=yes",  # never ask: a password cannot be typed into a program that goes on in the background
    "ConnectTimeout=15",
    "ServerAliveInterval=5",  # a cut cable is noticed after 15 s, not after hours
    "ServerAliveCountMax=3",
    "RequestTTY=no",
)
#: Forwardings of the user's configuration belong to other programs. It would clear that of ``-L``, too.
NO_FORWARDS = ("-o", "ClearAllForwardings=yes")
KEPT_S = 60  # that the shared connection stays without a command, if this process is killed
FORWARD_S, POLL_S = 20.0, 0.05
MOST_RUNTIME = 50  # characters: the name of a socket has at most 104, and ssh adds to it
#: For a forwarding: with ControlPersist the connection that is shared would leave it in the background.
OWN_CONNECTION = ("-o", "ControlMaster=no")
REFUSED = 255  # exit code of ssh itself
#: What ssh says, what that means, and what to do. {name} is USER@HOST[:PORT], {login} the command to type.
KNOWN: tuple[tuple[str, str, str], ...] = (
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "the host key of {name} is not the one that is known: another machine, or a new system there",
        "if you know why: ssh-keygen -R {known}, then {login} and compare the fingerprint",
    ),
    (
        "Host key verification failed",
        "{name} is not a known host",
        "connect once by hand and compare the fingerprint: {login}",
    ),
    (
        "Permission denied",
        "{name} does not accept a key of yours",
        "ssh-copy-id {copy}; for a key with a passphrase: ssh-add; then try: {login}",
    ),
    ("Could not resolve hostname", "no host is called {host}", "check the name, or ~/.ssh/config"),
    (
        "Connection refused",
        "nothing answers at the ssh port of {name}",
        "start its ssh server (sudo systemctl start ssh there), or give its port: USER@HOST:PORT",
    ),
    (
        r"timed out|No route to host|Network is unreachable|Host is down",
        "{name} cannot be reached",
        "check its power, its network and the address: ping {host}",
    ),
    (
        "Too many authentication failures",
        "{name} refused after too many keys",
        "name the key in ~/.ssh/config: IdentityFile and IdentitiesOnly yes",
    ),
)


class Ssh:
    """A device behind ssh.

    Args:
        host: Where.

    Attributes:
        name: ``USER@HOST[:PORT]``.

    Raises:
        DeviceError: There is no ssh on this machine.
        UsageError: ``EDGESTILL_SSH`` is no command.
    """

    def __init__(self, host: RemoteHost) -> None:
        self._host, self.name = host, str(host)
        self._command = _ssh_command()
        self._folder: Path | None = None
        if os.name == "posix" and not self._is_shared():
            runtime = os.environ.get("XDG_RUNTIME_DIR", "")
            parent = runtime if Path(runtime).is_dir() and len(runtime) <= MOST_RUNTIME else None
            self._folder = Path(tempfile.mkdtemp(prefix="edgestill-ssh-", dir=parent or None))

    def start(self) -> subprocess.Popen[bytes]:
        """Start the agent's command there."""
        return subprocess.Popen(
            [*self.words(*NO_FORWARDS), COMMAND],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for this program, which asks what to do
        )

    def words(self, *options: str) -> list[str]:
        """The words of the command that logs in, without what to run there."""
        flags = [word for option in OPTIONS for word in ("-o", option)]
        if self._folder is not None:
            shared = ("ControlMaster=auto", f"ControlPath={self._folder}/s", f"ControlPersist={KEPT_S}")
            flags += [word for option in shared for word in ("-o", option)]
        # Of an option that is given twice, ssh takes the first.
        return [*self._command, *options, *flags, *self._port, "--", self._host.target]

    def failure(self, code: int, said: str) -> DeviceError:
        """What ssh, or the login there, says in two lines."""
        if code == NO_PYTHON:
            return DeviceError(
                f"{self.name} has no Python 3",
                hint=f"install one there: {self._login()} sudo apt install python3",
            )
        for words, what, hint in KNOWN:
            if re.search(words, said):
                return DeviceError(self._filled(what), hint=self._filled(hint))
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        last = lines[-1] if lines else f"ssh ended with exit code {code}"
        return DeviceError(f"{self.name}: {last}", hint=f"try by hand: {self._login()}")

    @contextmanager
    def forwarded(self, there: int, here: int) -> Iterator[int]:
        """``ssh -N -L``, ended with the block."""
        port = self._free_port(here)
        forward = f"127.0.0.1:{port}:127.0.0.1:{there}"
        own = (*OWN_CONNECTION, *([] if self._folder is None else ["-o", "ControlPath=none"]))
        process = subprocess.Popen(
            self.words("-N", "-o", "ExitOnForwardFailure=yes", *own, "-L", forward),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            self._wait_for(process, port)
            yield port
        finally:
            process.terminate()
            process.communicate()
            if self._folder is None:  # a connection that the user's other programs share keeps it otherwise
                _run_quietly(self.words("-O", "cancel", "-L", forward))

    def close(self) -> None:
        """End the shared connection, and remove its socket."""
        if self._folder is None:
            return
        if any(self._folder.iterdir()):
            _run_quietly(self.words("-O", "exit"))
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder = None

    def _is_shared(self) -> bool:
        """Whether the user's configuration shares connections: one that is open may need no key any more."""
        command = [*self._command, "-G", *self._port, "--", self._host.target]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        found = re.search(r"^controlpath (?!none$)", done.stdout, re.MULTILINE)
        return found is not None

    def _free_port(self, wanted: int) -> int:
        """A port that is free here; any one for 0."""
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", wanted))
            except (OSError, OverflowError) as error:
                raise self._not_forwarded(wanted, str(error)) from error
            return int(probe.getsockname()[1])

    def _wait_for(self, process: subprocess.Popen[bytes], port: int) -> None:
        """Wait until the port is open here."""
        until = time.monotonic() + FORWARD_S
        while time.monotonic() < until:
            if process.poll() is not None:
                assert process.stderr is not None
                raise self._not_forwarded(port, process.stderr.read().decode("utf-8", "replace"))
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(POLL_S)
        raise self._not_forwarded(port, "it takes too long")

    def _not_forwarded(self, port: int, said: str) -> DeviceError:
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        return DeviceError(
            f"port {port} could not be forwarded to {self.name}: {lines[-1] if lines else 'ssh ended'}",
            hint="choose another one here: --web PORT",
        )

    @property
    def _port(self) -> list[str]:
        return [] if self._host.port is None else ["-p", str(self._host.port)]

    def _login(self) -> str:
        return shlex.join(["ssh", *self._port, self._host.target])

    def _filled(self, text: str) -> str:
        host, port = self._host, self._host.port
        return text.format(
            name=self.name,
            host=host.host,
            login=self._login(),
            known=host.host if port in {None, 22} else f"'[{host.host}]:{port}'",
            copy=host.target if port is None else f"-p {port} {host.target}",
        )


def _ssh_command() -> list[str]:
    """The words of ``EDGESTILL_SSH``, or the ssh on the path."""
    given = os.environ.get(VARIABLE)
    try:
        words: Sequence[str] = shlex.split(given) if given else ["ssh"]
    except ValueError as error:
        raise UsageError(
            f"{VARIABLE} is no command: {error}", hint=f"{VARIABLE}='ssh -F my_config'"
        ) from error
    program = shutil.which(words[0])
    if program is None:
        raise DeviceError(
            f"{words[0]} is not installed on this machine", hint="sudo apt install openssh-client"
        )
    return [program, *words[1:]]


def _run_quietly(command: list[str]) -> None:
    null = subprocess.DEVNULL
    subprocess.run(command, stdin=null, stdout=null, stderr=null, check=False)
