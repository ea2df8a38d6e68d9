"""The system's ssh against a real sshd on the loopback interface, run by this user on a free port."""

from __future__ import annotations

import getpass
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from urllib.request import urlopen

import cv2
import numpy as np
import pytest

from edgestill.cli.main import call, main
from edgestill.errors import DeviceError, UsageError
from edgestill.remote import ssh
from edgestill.remote.bundle_transfer import LocalBundle, send_bundle
from edgestill.remote.device import Device, this_user
from edgestill.remote.far.places import read_json
from edgestill.remote.remote_host import RemoteHost
from edgestill.remote.ssh import VARIABLE, Ssh
from tests.edgestill.remote.conftest import PATH, make_bundle

ROOT = Path(__file__).resolve().parents[3]
SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")
needs_sshd = pytest.mark.skipif(
    not SSHD or not shutil.which("ssh"), reason="there is no sshd: sudo apt install openssh-server"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running sshd.

    Attributes:
        folder: Its keys: ``key`` may log in, ``other`` may not; ``known`` is the known_hosts file.
        port: Its port.
        pid: Its process.
    """

    folder: Path
    port: int
    pid: int

    @property
    def name(self) -> str:
        return f"{getpass.getuser()}@127.0.0.1:{self.port}"

    def command(self, key: str = "key", known: str = "known") -> str:
        """A value of ``EDGESTILL_SSH``."""
        config = self.folder / f"config-{key}-{known}"
        config.write_text(
            f"Host *\n  IdentityFile {self.folder / key}\n  IdentitiesOnly yes\n"
            f"  UserKnownHostsFile {self.folder / known}\n  GlobalKnownHostsFile none\n"
            "  IdentityAgent none\n  ControlPath none\n"
        )
        return f"ssh -F {config}"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("sshd")
    for name in ("host", "key", "other"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shutil.copyfile(folder / "key.pub", folder / "authorized")
    host = (folder / "host.pub").read_text()
    (folder / "known").write_text(f"[127.0.0.1]:{port} {host}")
    (folder / "changed").write_text(f"[127.0.0.1]:{port} {(folder / 'other.pub').read_text()}")
    (folder / "empty").touch()
    (folder / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {folder / 'host'}\nPidFile none\n"
        f"AuthorizedKeysFile {folder / 'authorized'}\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"
        f"KbdInteractiveAuthentication no\nSetEnv PATH={PATH}\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where a root's sshd wants to be able to lock itself in
    command = [str(SSHD), "-D", "-e", "-f", str(folder / "sshd_config")]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        until = time.monotonic() + 30
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if process.poll() is not None or time.monotonic() > until:
                assert process.stderr is not None
                pytest.skip(f"sshd does not start here: {process.stderr.read().decode()}")
            time.sleep(0.05)
        yield Server(folder=folder, port=port, pid=process.pid)
    finally:
        process.terminate()
        process.communicate()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of the agent, on the same machine."""
    return tmp_path / "far folder"


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch, server: Server) -> Iterator[Path]:
    """Where connections are kept; the way to the server is set. Nothing is left there at the end."""
    with TemporaryDirectory(prefix="run-", dir="/tmp") as found:  # sockets have short names
        monkeypatch.setenv("XDG_RUNTIME_DIR", found)
        monkeypatch.setenv(VARIABLE, server.command())
        yield Path(found)
        assert list(Path(found).iterdir()) == []


@needs_sshd
def test_the_whole_loop_over_ssh(
    server: Server, runtime: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    bundle = make_bundle(tmp_path / "tiny.tar")
    where = ["--folder", str(folder)]
    found = call(["remote", server.name, "bench", str(bundle), "--duration-s", "2", "--to", "got", *where])
    assert (found["kind"], found["host"], found["sent_bytes"] > 0) == ("remote-bench", server.name, True)
    assert sorted(found["steps"]) == ["bench", "install", "verify"]
    assert found["files"] == [
        f"got/{name}" for name in ("log", "results/bench.json", "results/install.json", "results/verify.json")
    ]
    (there,) = (folder / "bundles").iterdir()
    assert (there / "words-bench").read_text().splitlines()[1:] == ["--duration-s", "2"]
    assert call(["remote", server.name, "clean", *where])["removed"] == str(folder)
    assert not folder.exists()


@needs_sshd
@pytest.mark.parametrize(
    ("key", "known", "what", "hint"),
    [
        ("other", "known", "does not accept a key of yours", "ssh-copy-id -p "),
        ("key", "empty", "is not a known host", "compare the fingerprint: ssh -p "),
        (
            "key",
            "changed",
            "the host key of .* is not the one that is known",
            "ssh-keygen -R '\\[127.0.0.1\\]:",
        ),
    ],
)
def test_who_is_not_trusted_is_told_in_two_lines(
    key: str,
    known: str,
    what: str,
    hint: str,
    server: Server,
    runtime: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(VARIABLE, server.command(key, known))
    assert main(["remote", server.name, "doctor"]) == 5
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(f"edgestill remote: .*{what}.*\n  hint: .*{hint}.*\n", err)


@pytest.mark.slow
@needs_sshd
def test_a_cut_connection_is_made_again(server: Server, runtime: Path, folder: Path, tmp_path: Path) -> None:
    """The process of sshd that serves the connection is killed in the middle of the upload."""
    wheel = [("wheels/big-1-py3-none-any.whl", bytes(4_000_000))]
    local = LocalBundle.read(make_bundle(tmp_path / "big.tar", more=wheel))
    with closing(_Killing(RemoteHost.parse(server.name), server.pid)) as transport:
        device = Device(
            transport=transport, owner="anna@laptop", folder=str(folder), pauses_s=(0.1, 0.1, 0.1)
        )
        assert send_bundle(local, device)["bundle"] == local.name
        assert transport.starts == 2
    (there,) = (folder / "bundles").iterdir()
    assert (there / "wheels/big-1-py3-none-any.whl").stat().st_size == 4_000_000


class _Killing(Ssh):
    """Its first connection is cut at the server once a megabyte was sent."""

    def __init__(self, host: RemoteHost, server: int) -> None:
        super().__init__(host)
        self._server, self.starts = server, 0

    def start(self) -> subprocess.Popen[bytes]:
        process = super().start()
        self.starts += 1
        if self.starts == 1:
            assert process.stdin is not None
            write, sent = process.stdin.write, [0]

            def counted(data: bytes) -> int:
                sent[0] += len(data)
                if sent[0] > 1_000_000 and sent[0] - len(data) <= 1_000_000:
                    for child in _children(self._server):
                        os.kill(child, signal.SIGKILL)
                return write(data)

            process.stdin = _Pipe(process.stdin, counted)  # type: ignore[assignment]
        return process


class _Pipe:
    def __init__(self, pipe: object, write: Callable[[bytes], int]) -> None:
        self._pipe, self.write = pipe, write

    def __getattr__(self, name: str) -> object:
        return getattr(self._pipe, name)


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@needs_sshd
def test_a_port_is_forwarded_and_closed_again(server: Server, runtime: Path) -> None:
    class Hello(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"hello")

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Hello) as web:
        Thread(target=web.serve_forever, daemon=True).start()
        with closing(Ssh(RemoteHost.parse(server.name))) as transport:
            with transport.forwarded(web.server_port, 0) as port:
                with closing(HTTPConnection("127.0.0.1", port)) as connection:
                    connection.request("GET", "/")
                    assert connection.getresponse().read() == b"hello"
                with pytest.raises(DeviceError, match=f"port {port} could not be forwarded") as caught:
                    transport.forwarded(1, port).__enter__()
                assert "--web PORT" in caught.value.hint
            with socket.socket() as probe:
                assert probe.connect_ex(("127.0.0.1", port)) != 0
        web.shutdown()


@pytest.mark.slow
@needs_sshd
def test_nothing_is_left_here_where_the_terminal_is_closed(
    server: Server, runtime: Path, folder: Path, tmp_path: Path
) -> None:
    """The job goes on there; the fixture looks for what is left of the connection."""
    where = ["--folder", str(folder)]
    call(["remote", server.name, "deploy", str(make_bundle(tmp_path / "tiny.tar")), *where])
    (there,) = (folder / "bundles").iterdir()
    (there / "hold-verify").touch()
    command = [sys.executable, "-m", "edgestill", "remote", server.name, "verify", *where]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stderr is not None
        while b"verify begins" not in child.stderr.readline():
            assert child.poll() is None
        child.send_signal(signal.SIGHUP)
        child.communicate()
    assert child.returncode == 128 + signal.SIGHUP
    (there / "hold-verify").unlink()
    assert call(["remote", server.name, "verify", *where])["job"] == 2


@pytest.mark.slow
@needs_sshd
@pytest.mark.parametrize("answer", ["y", "n"])
def test_ctrl_c_asks_on_the_terminal(
    answer: str, server: Server, runtime: Path, folder: Path, tmp_path: Path
) -> None:
    """A child process with a terminal of its own."""
    bundle = make_bundle(tmp_path / "tiny.tar")
    where = ["--folder", str(folder)]
    call(["remote", server.name, "deploy", str(bundle), *where])
    (there,) = (folder / "bundles").iterdir()
    (there / "hold-verify").touch()
    command = [sys.executable, "-m", "edgestill", "remote", server.name, "verify", *where]
    terminal, its_end = pty.openpty()
    child = subprocess.Popen(command, stdin=its_end, stdout=its_end, stderr=its_end, start_new_session=True)
    os.close(its_end)
    try:
        _read_until(terminal, b"verify begins")
        child.send_signal(signal.SIGINT)  # what a terminal does for Ctrl-C
        shown = _read_until(terminal, b"[y/N]")
        assert b"stop the verify on" in shown
        os.write(terminal, f"{answer}\n".encode())
        shown = _read_until(terminal, b"hint: ", at_end=True)
    finally:
        os.close(terminal)
        code = child.wait()
    assert code == 130
    state = read_json(folder / "jobs" / "2" / "state.json")["state"]
    assert state == ("stopped" if answer == "y" else "running")
    assert (b"was stopped" if answer == "y" else b"goes on on") in shown
    (there / "hold-verify").unlink()
    if answer == "n":  # the same command shows it again
        assert call(["remote", server.name, "verify", *where])["job"] == 2


def _read_until(terminal: int, words: bytes, *, at_end: bool = False) -> bytes:
    """What the child shows up to some words, or behind them to its end."""
    shown, until = b"", time.monotonic() + 60
    while at_end or words not in shown:
        assert time.monotonic() < until, shown.decode()
        if not select.select([terminal], [], [], 1)[0]:
            continue
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # Linux tells the end of a terminal so
            piece = b""
        if not piece:
            break
        shown += piece
    assert words in shown
    return shown


class Camera(BaseHTTPRequestHandler):
    """An endless MJPEG stream."""

    def do_GET(self) -> None:
        picture = cv2.imencode(".jpg", np.zeros((48, 64, 3), np.uint8))[1].tobytes()
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n".encode()
        with suppress(OSError):
            while True:
                self.wfile.write(head + picture + b"\r\n")
                time.sleep(0.1)

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.slow
@needs_sshd
def test_the_live_view_of_a_camera_of_the_device_is_shown_here(
    server: Server, runtime: Path, folder: Path, tiny_model: Path, tmp_path: Path
) -> None:
    """The edgestill of this checkout runs on the other side of a real sshd, and serves its real web view."""
    pytest.importorskip("uvicorn")
    run_sh = (
        f"export PYTHONPATH='{ROOT}'\n"
        f'if [ "$1" = install ]; then exit; fi\nshift\nexec \'{sys.executable}\' -m edgestill "$@"\n'
    )
    bundle = make_bundle(tmp_path / "real.tar", run_sh=run_sh, model=tiny_model.read_bytes())
    with ThreadingHTTPServer(("127.0.0.1", 0), Camera) as camera:
        Thread(target=camera.serve_forever, daemon=True).start()
        source = f"http://127.0.0.1:{camera.server_port}/"
        command = [
            sys.executable,
            "-m",
            "edgestill",
            "remote",
            server.name,
            "run",
            "--source",
            source,
            "--web",
        ]
        more = ["--bundle", str(bundle), "--folder", str(folder)]
        with subprocess.Popen([*command, *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
            assert child.stderr is not None
            shown = b""
            while not (found := re.search(rb"web view here: (http://127.0.0.1:(\d+)/\S*)", shown)):
                line = child.stderr.readline()
                assert line, shown.decode()
                shown += line
            with urlopen(found[1].decode()) as page:
                assert b"<title>" in page.read()
            with urlopen(f"{found[1].decode()}healthz") as page:
                assert page.status == 200
            device = Device(
                transport=Ssh(RemoteHost.parse(server.name)), owner=this_user(), folder=str(folder)
            )
            with closing(device.transport):
                device.ask("stop", job=1)
            out, err = child.communicate()
        assert child.returncode == 0, err.decode()
        result = json.loads(out)
        assert result["steps"]["run"]["frames"] > 0
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", int(found[2]))) != 0
        camera.shutdown()


# --- without a server


def test_nothing_listens(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv(VARIABLE, "ssh -F none")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        assert main(["remote", f"me@127.0.0.1:{probe.getsockname()[1]}", "doctor"]) == 5
    assert "nothing answers at the ssh port of me@127.0.0.1" in capsys.readouterr().err


def test_without_ssh_here_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeviceError, match="ssh is not installed on this machine"):
        Ssh(RemoteHost.parse("me@host"))
    monkeypatch.setenv(VARIABLE, "ssh '")
    with pytest.raises(UsageError, match="EDGESTILL_SSH is no command"):
        Ssh(RemoteHost.parse("me@host"))


@pytest.fixture
def unconnected(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], Ssh]:
    """Makes a transport with a stand-in for ssh that has no shared connections."""
    program = tmp_path / "ssh"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv(VARIABLE, str(program))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return lambda text: Ssh(RemoteHost.parse(text))


def test_the_host_is_one_word_behind_all_options(unconnected: Callable[[str], Ssh]) -> None:
    with closing(unconnected("me@host:2222")) as transport:
        words = transport.words()
    assert words[-4:] == ["-p", "2222", "--", "me@host"]
    assert {"BatchMode=yes", "ControlMaster=auto"} < set(words)
    assert not any("assword" in word for word in words)


def test_a_connection_of_the_users_own_is_used_and_left(
    unconnected: Callable[[str], Ssh], tmp_path: Path
) -> None:
    (tmp_path / "ssh").write_text("#!/bin/sh\necho controlpath /home/me/.ssh/%C\n")
    with closing(unconnected("me@host")) as transport:
        assert not any("Control" in word for word in transport.words())
    assert [path.name for path in tmp_path.iterdir()] == ["ssh"]


@pytest.mark.parametrize(("words", "what", "hint"), ssh.KNOWN)
def test_what_ssh_says_becomes_two_lines(
    words: str, what: str, hint: str, unconnected: Callable[[str], Ssh]
) -> None:
    with closing(unconnected("me@host:2222")) as transport:
        error = transport.failure(255, f"debug1: x\r\nssh: {words.partition('|')[0]}: y\r\n")
    assert "{" not in error.what + error.hint
    assert error.what.split(" ")[0] in what.format(name="me@host:2222", host="host")


@pytest.mark.parametrize(
    ("code", "said", "what"),
    [
        (127, "no python3", "has no Python 3"),
        (1, "This account is not available.\n", "me@host: This account"),
        (255, "", "exit code 255"),
    ],
)
def test_other_ends_of_a_login_are_told(
    code: int, said: str, what: str, unconnected: Callable[[str], Ssh]
) -> None:
    with closing(unconnected("me@host")) as transport:
        error = transport.failure(code, said)
    assert what in error.what
    assert "ssh me@host" in error.hint
