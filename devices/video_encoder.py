"""Whether this machine is a Jetson with an H.264 encoder in hardware."""

from __future__ import annotations

from pathlib import Path

from devices.detect import detect
from devices.profile import load_profile


def has_video_encoder(root: Path = Path("/")) -> bool:
    """Whether the profile of this machine says so; False for a Jetson without a profile and for others.

    Args:
        root: ``/``, or a recorded file tree of another machine.
    """
    if not (root / "proc/device-tree/compatible").exists() and not (root / "etc/nv_tegra_release").exists():
        return False
    key = detect(root, cards=str).key  # graphics cards do not matter, and are slow to ask
    return key is not None and load_profile(key).video_encoder is True
