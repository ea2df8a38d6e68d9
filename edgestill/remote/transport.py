"""What a device is reached by: something that starts the agent there, and forwards a port."""

from __future__ import annotations

import json
import subprocess
from contextlib import AbstractContextManager
from importlib.resources import files
from typing import Protocol

from edgestill.errors import DeviceError

#: The agent's modules, each after those that it imports.
MODULES = ("places", "steps", "jobs", "uploads", "downloads", "facts", "agent")
PACKAGE = "edgestill.remote.far"
# All that a shell of the device ever reads. It is a constant: requests go through stdin, as JSON. The inner
# shell is named, because the login shell may be another (csh, fish), for which this line means the same.
COMMAND = (
    "exec sh -c 'for p in python3 python3.12 python3.11 python3.10; do "
    'command -v $p >/dev/null 2>&1 && exec $p -IS -c "import sys; s = sys.stdin.buffer; '
    "exec(s.read(int(s.readline())))\"; done; echo no python3 >&2; exit 127'"
)
NO_PYTHON = 127
_LOADER = """\
import json, sys, types
if sys.version_info < (3, 6):
    sys.exit("Python %d.%d is too old" % sys.version_info[:2])
sys.dont_write_bytecode = True
for name, text in json.loads({modules!r}):
    sys.modules[name] = types.ModuleType(name)
    exec(compile(text, name, "exec"), sys.modules[name].__dict__)
sys.modules[{main!r}].main()
"""


class Transport(Protocol):
    """A way to a device.

    Attributes:
        name: What the device is called in messages, e.g. ``"me@jetson"``.
    """

    name: str

    def start(self) -> subprocess.Popen[bytes]:
        """Start ``COMMAND`` there; stdin, stdout and stderr are pipes.

        Raises:
            DeviceError: The program that connects is not installed.
        """
        ...

    def failure(self, code: int, said: str) -> DeviceError:
        """The error of a connection that was never made.

        Args:
            code: Exit code of the process.
            said: What it wrote on stderr.
        """
        ...

    def forwarded(self, there: int, here: int) -> AbstractContextManager[int]:
        """Forward a port of this machine's loopback address to one of the device's, while the block runs.

        Args:
            there: The device's port.
            here: This machine's port, or 0 for any free one.

        Returns:
            The port here.
        """
        ...

    def close(self) -> None:
        """End the connection."""
        ...


def agent_bytes() -> bytes:
    """The agent, as ``COMMAND`` reads it: its length in bytes and a line break, then a program."""
    folder = files(PACKAGE)
    modules = [(f"{PACKAGE}.{name}", folder.joinpath(f"{name}.py").read_text("utf-8")) for name in MODULES]
    program = _LOADER.format(modules=json.dumps(modules), main=f"{PACKAGE}.agent").encode()
    return f"{len(program)}\n".encode() + program
