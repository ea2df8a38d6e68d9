"""A device that is a folder of this machine, and bundles whose ``run.sh`` does what a test tells it."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import pytest

from edgestill.errors import DeviceError
from edgestill.files import to_json_text
from edgestill.remote.device import Device
from edgestill.remote.transport import COMMAND
from export.bundle.archive import Entries, write_archive
from export.bundle.contents import INDEX, RUNNER, SUMS, BundledModel, BundleIndex, ParityLimits
from export.bundle.reading import sums_text

#: In place of the real one. Files beside it steer it: ``hold-VERB`` makes a verb wait, ``fail-VERB`` is what
#: it says before it fails with code 6, ``words-VERB`` gets its arguments, one on a line.
RUN_SH = """\
#!/bin/sh
here=$(dirname "$0")
verb=$1
shift
if [ "$verb" = edgestill ]; then verb=$1; shift; fi
printf '%s\\n' "$@" > "$here/words-$verb"
echo "$verb begins" >&2
if [ "$verb" = run ]; then echo "web view: http://127.0.0.1:$(cat "$here/port")/?token=abc" >&2; fi
while [ -e "$here/hold-$verb" ]; do sleep 0.02; done
if [ -e "$here/fail-$verb" ]; then cat "$here/fail-$verb" >&2; exit 6; fi
case $verb in
    install)
        mkdir -p "$here/installed/venv/bin"
        printf '#!/bin/sh\ncat "%s/tensorrt"\n' "$here" > "$here/installed/venv/bin/python"
        chmod +x "$here/installed/venv/bin/python"
        echo '{}' > "$here/installed/complete.json"
        ;;
    build) mkdir -p "$here/installed/engines"; : > "$here/installed/engines/tiny.trt.engine" ;;
    run) echo picture > crop.txt ;;
esac
printf '{"verb": "%s", "models": [], "files": ["crop.txt"]}\\n' "$verb"
"""
#: Programs of the system, and the Python of the tests; others would be started to ask for their version.
PATH = os.pathsep.join((str(Path(sys.executable).parent), "/usr/bin", "/bin"))
VERSION = "{}.{}".format(*sys.version_info[:2])


class Folder:
    """A device that is a folder of this machine: the real agent, started by the same line as over ssh.

    Attributes:
        home: Its home folder.
        path: Where it looks for programs.
        process: The agent that was started last.
        login: What its login shell runs before our line.
        inside: The words before the command of that shell, e.g. of ``unshare``.
        is_down: Whether nothing answers.
        forwards: The ports that were forwarded: there, here.
        cut_after: Bytes after which the next connection that sends more is cut; None for never.
    """

    name = "me@board"

    def __init__(self, home: Path) -> None:
        self.home = home
        self.path = PATH
        self.process: subprocess.Popen[bytes] | None = None
        self.cut_after: int | None = None
        self.forwards: list[tuple[int, int]] = []
        self.is_down = False
        self.login, self.inside = "", list[str]()

    def start(self) -> subprocess.Popen[bytes]:
        command = [*self.inside, "sh", "-c", "exit 255" if self.is_down else f"{self.login}{COMMAND}"]
        self.process = subprocess.Popen(
            command,
            env={"HOME": str(self.home), "PATH": self.path},
            cwd=self.home,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        if self.cut_after is not None:
            self.process.stdin = _Cut(self, self.process, self.cut_after)  # type: ignore[assignment]
        return self.process

    def failure(self, code: int, said: str) -> DeviceError:
        return DeviceError(f"{self.name}: {code} {said.strip()}", hint="see ssh")

    @contextmanager
    def forwarded(self, there: int, here: int) -> Iterator[int]:
        self.forwards.append((there, here))
        yield here or 4711

    def close(self) -> None:
        pass


class _Cut:
    """A pipe to an agent that ends within one of the writes, as a cable does."""

    def __init__(self, folder: Folder, process: subprocess.Popen[bytes], left: int) -> None:
        assert process.stdin is not None
        self._folder, self._process, self._pipe, self._left = folder, process, process.stdin, left

    def write(self, data: bytes) -> None:
        self._pipe.write(data[: self._left])
        self._pipe.flush()
        self._left -= len(data)
        if self._left < 0:
            self._folder.cut_after = None
            self._pipe.close()
            self._process.wait()

    def flush(self) -> None:
        if self._pipe.closed:
            raise BrokenPipeError
        self._pipe.flush()

    def close(self) -> None:
        self._pipe.close()


@pytest.fixture
def board(tmp_path: Path) -> Folder:
    home = tmp_path / "home of the board"
    home.mkdir()
    return Folder(home)


@pytest.fixture
def device(board: Folder) -> Device:
    return Device(transport=board, owner="anna@laptop", pauses_s=(0.0, 0.0))


@pytest.fixture
def other(board: Folder) -> Device:
    """The device, for another person."""
    return Device(transport=board, owner="ben@desk", pauses_s=(0.0, 0.0))


def make_bundle(
    out: Path,
    *,
    machine: str | None = None,
    python: str = VERSION,
    more: Sequence[tuple[str, bytes]] = (),
    names: Sequence[str] = ("tiny",),
    run_sh: str = RUN_SH,
    model: bytes = b"model",
) -> Path:
    """A bundle with ``RUN_SH``, whose models and wheels are a few bytes."""
    models = tuple(
        BundledModel(
            name=name,
            file=f"models/{name}/{name}.onnx",
            precision="fp32",
            parity=f"models/{name}/parity.npz",
            detections=1,
            limits=ParityLimits(score=0.1, box_px=1.0),
            reference={},
        )
        for name in names
    )
    index = BundleIndex(
        edgestill="0.0.0",
        device="x",
        machine=machine or {"arm64": "aarch64"}.get(platform.machine(), platform.machine()),
        system_packages=False,
        wheels={python: ()},
        pip="wheels/pip-1-py3-none-any.whl",
        models=models,
    )
    files: Entries = [(name, model if name.endswith(".onnx") else b"") for name in index.files()]
    files += [
        (INDEX, to_json_text(index.to_json()).encode()),
        (RUNNER, run_sh.encode()),
        ("install.py", b""),
        *more,
    ]
    files.sort()
    sums = sums_text({name: _digest(content) for name, content in files}).encode()
    write_archive(out, [(SUMS, sums), *files], force=False)
    return out


def _digest(content: Path | bytes) -> str:
    return sha256(content if isinstance(content, bytes) else content.read_bytes()).hexdigest()


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "tiny.tar")


def bundle_there(board: Folder) -> Path:
    """The folder of the one bundle that is deployed."""
    (found,) = (board.home / ".edgestill-remote" / "bundles").iterdir()
    return found
