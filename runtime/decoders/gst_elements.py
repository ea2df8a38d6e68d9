"""Whether GStreamer and the elements of a pipeline are installed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from functools import cache

from edgestill.errors import DeviceError

LAUNCH, INSPECT = "gst-launch-1.0", "gst-inspect-1.0"
INSTALL = "sudo apt install gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good"
TIMEOUT_S = 20.0  # the first call after an installation looks through all plugins


def has_gst_launch() -> bool:
    """Whether GStreamer's command-line programs are installed."""
    return shutil.which(LAUNCH) is not None and shutil.which(INSPECT) is not None


def require_elements(shown: str, names: Iterable[str]) -> None:
    """Raise DeviceError if GStreamer or one of the elements is missing.

    Args:
        shown: The source, for the message.
        names: Elements of its pipeline.
    """
    if not has_gst_launch():
        raise DeviceError(f"{shown} needs GStreamer, which is not installed", hint=INSTALL)
    for name in names:
        if not has_element(name):
            raise DeviceError(
                f"{shown} needs GStreamer's element {name}, which is not installed", hint=_hint(name)
            )


@cache
def has_element(name: str) -> bool:
    """Whether GStreamer has an element of that name; False without GStreamer."""
    if not has_gst_launch():
        return False
    try:
        done = subprocess.run(
            [INSPECT, "--exists", name],
            timeout=TIMEOUT_S,
            check=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def _hint(name: str) -> str:
    if name.startswith("nv"):
        return (
            f"it comes with Jetson Linux (nvidia-l4t-gstreamer), not with Debian; test it: {INSPECT} {name}"
        )
    return f"test it: {INSPECT} {name}; apt-cache search gstreamer1.0-plugins lists packages of elements"
