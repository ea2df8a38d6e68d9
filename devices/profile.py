"""Device profiles: published specifications of devices as data, each figure with its source.

``devices/profiles`` has one TOML file for each family; ``devices.profile_file`` describes its form. What is
detected on a machine is a ``devices.detect.DeviceSnapshot``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from devices.profile_fields import DeviceProfile, Kind, Unit
from devices.profile_file import read_family
from edgestill.errors import unknown_name

__all__ = ["DeviceProfile", "Kind", "Unit", "load_profile", "load_profiles", "profile_names"]

FOLDER = Path(__file__).parent / "profiles"


def profile_names() -> tuple[str, ...]:
    """The keys of all known devices, sorted."""
    return tuple(sorted(_profiles(FOLDER)))


def load_profile(key: str) -> DeviceProfile:
    """One device.

    Raises:
        UsageError: No device has that key.
        DeviceError: A file has missing, unknown or wrong fields; the message names them.
    """
    profiles = _profiles(FOLDER)
    if key not in profiles:
        raise unknown_name("device", key, profiles)
    return profiles[key]


def load_profiles() -> tuple[DeviceProfile, ...]:
    """All devices, by family in the order of its file."""
    return tuple(_profiles(FOLDER).values())


@cache
def _profiles(folder: Path) -> Mapping[str, DeviceProfile]:
    families = (read_family(path) for path in sorted(folder.glob("*.toml")))
    return {profile.key: profile for family in families for profile in family}
