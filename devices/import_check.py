"""Whether installed libraries can be imported, tried in processes of their own.

Package metadata says that a library is there, not that it starts: a shared library may be missing, a build
may use instructions that this CPU lacks, a GPU driver may hang. None of these may take down the caller.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

from devices.software import Extra, module_of

TIMEOUT_S = 120  # torch takes half a minute from the SD card of a board
_AT_ONCE = 4
_LINE_CHARS = 300
# The caller's sys.path, not the one of ``python -c``, which begins with the working folder.
_CODE = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); import {module}; {more}"
_FACTS = {
    # Only this module of pycuda needs the library of the driver.
    "pycuda": "import pycuda.driver; print('engines call CUDA by pycuda')",
    "av": "from av.codec import Codec, codecs_available; "
    "print('H.264 videos: libx264 is ' + ('there' if 'libx264' in codecs_available else 'missing'))",
    # The line is "GStreamer:  YES (1.20.3)" or "NO"; OpenCV's Windows builds have none.
    "cv2": "import re; found = re.search(r'GStreamer: +(YES|NO)', cv2.getBuildInformation()); "
    "print(f'cv2 {cv2.__version__} from {cv2.__file__}, GStreamer: {found[1] if found else \"unknown\"}')",
}
#: Settings under which the libraries neither write to the user's folders nor use the network.
_QUIET = {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false"}


def check_imports(extras: Iterable[Extra]) -> tuple[Extra, ...]:
    """Import every installed library of some extras; returns the extras with ``broken`` and ``facts``."""
    whole = tuple(extras)
    names = sorted({name for extra in whole for name in extra.installed})
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = dict(zip(names, pool.map(try_import, map(module_of, names)), strict=True))
    return tuple(
        replace(
            extra,
            broken={name: found[name][1] for name in extra.installed if found[name][1]},
            facts=tuple(found[name][0] for name in extra.installed if found[name][0]),
        )
        for extra in whole
    )


def try_import(module: str, then: str | None = None) -> tuple[str, str]:
    """Import a module in a process of its own.

    Args:
        module: The module.
        then: Code that prints a fact about it; None for what this module knows to ask.

    Returns:
        A fact about it, if there is one to know, and the reason why it cannot be imported; else empty.
    """
    ask = then or _FACTS.get(module)
    code = _CODE.format(module=module, more=ask or "pass")
    places = json.dumps([str(place) for place in sys.path])
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [sys.executable, "-c", code, places],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **_QUIET, "YOLO_CONFIG_DIR": folder},
            start_new_session=True,
        )
        try:
            status = process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            with suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):
                process.wait(1)
            return "", f"importing it does not end in {TIMEOUT_S} s"
        output.seek(0)
        lines = output.read().decode("utf-8", "replace").strip().splitlines()
    last = lines[-1][:_LINE_CHARS] if lines else ""
    if status == 0:
        return (last if ask else ""), ""
    if status < 0:
        return "", f"importing it ends in {_signal_name(-status)}"
    return "", last or f"importing it ends with exit status {status}"


def _signal_name(number: int) -> str:
    return signal.Signals(number).name if number in {s.value for s in signal.Signals} else f"signal {number}"
