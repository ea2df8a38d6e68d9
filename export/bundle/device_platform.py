"""What decides which wheels a device takes: its architecture, its Pythons, and what its system brings.

Source: https://packaging.python.org/en/latest/specifications/platform-compatibility-tags/
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from devices.profile import load_profile, profile_names
from edgestill.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from packaging.tags import Tag

MACHINES = ("x86_64", "aarch64")
PYTHONS = ("3.10", "3.11", "3.12")
#: The Pythons of JetPack 6 and 7, and of Ubuntu 22.04 and 24.04.
DEFAULT_PYTHONS = ("3.10", "3.12")
#: glibc of Ubuntu 22.04, the oldest system whose own Python is 3.10: wheels for newer ones do not run there.
GLIBC = (2, 35)
#: manylinux levels that wheels carry, for ``pip download``, which takes no range of them.
LEVELS = ("2014", "_2_24", "_2_26", "_2_27", "_2_28", "_2_31", "_2_34", "_2_35")
OPENCV = frozenset({"opencv-python", "opencv-python-headless"})
#: JetPack's OpenCV was compiled for NumPy 1 and cannot be imported beside NumPy 2.
SYSTEM_NUMPY = "numpy<2"
#: The extra of edgestill for each backend that has one; TensorRT is the system's.
EXTRAS = {"ort": "onnx", "ov": "openvino"}
WEB = "web"  # the extra of the live view, `edgestill run --web`


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicePlatform:
    """What decides which wheels a device takes.

    Attributes:
        device: A key of ``edgestill devices``, or an architecture.
        machine: ``x86_64`` or ``aarch64``.
        pythons: Python versions, e.g. ``"3.10"``.
        extras: Extras of edgestill.
        system_packages: Whether OpenCV and TensorRT are those of the system, as on a Jetson.
        doubts: Known problems of the device, as sentences.
    """

    device: str
    machine: str
    pythons: tuple[str, ...]
    extras: tuple[str, ...]
    system_packages: bool
    doubts: tuple[str, ...] = ()

    @property
    def needs(self) -> tuple[str, ...]:
        """What the device needs beside edgestill and its extras: OpenCV, or what its own OpenCV needs."""
        return (SYSTEM_NUMPY,) if self.system_packages else ("opencv-python",)

    def environment(self, python: str) -> dict[str, str]:
        """The values of environment markers on the device."""
        return {
            "implementation_name": "cpython",
            "implementation_version": f"{python}.0",
            "os_name": "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": f"{python}.0",
            "python_version": python,
            "sys_platform": "linux",
        }

    def tags(self, python: str) -> frozenset[Tag]:
        """The wheel tags that its Python takes."""
        from packaging.tags import compatible_tags, cpython_tags  # noqa: PLC0415 (for this verb only)

        levels = [f"manylinux_2_{minor}_{self.machine}" for minor in range(GLIBC[1], 16, -1)]
        platforms = [*levels, f"manylinux2014_{self.machine}", f"linux_{self.machine}"]
        major, minor = map(int, python.split("."))
        mine = cpython_tags((major, minor), platforms=platforms)
        return frozenset([*mine, *compatible_tags((major, minor), f"cp{major}{minor}", platforms)])


def platform_of(device: str, pythons: Sequence[str] = ()) -> DevicePlatform:
    """What decides which wheels a device takes.

    Args:
        device: A key of ``edgestill devices``, or ``x86_64`` or ``aarch64`` for any machine of that kind.
        pythons: Python versions; empty for ``DEFAULT_PYTHONS``.

    Raises:
        UsageError: There is no such device or Python.
    """
    if odd := [python for python in pythons if python not in PYTHONS]:
        raise UsageError(f"edgestill does not run on Python {odd[0]}", hint=f"known: {', '.join(PYTHONS)}")
    chosen = tuple(sorted(set(pythons or DEFAULT_PYTHONS)))
    if device in MACHINES:
        extras = (*EXTRAS.values(), WEB)
        return DevicePlatform(
            device=device, machine=device, pythons=chosen, extras=extras, system_packages=False
        )
    if device not in profile_names():
        raise unknown_name("device", device, [*MACHINES, *profile_names()])
    profile = load_profile(device)
    # The name in a device tree, which only ARM boards have, tells the architecture.
    is_arm = profile.kind == "jetson" or bool(profile.boards)
    extras = (*(extra for backend, extra in EXTRAS.items() if backend in profile.backends), WEB)
    doubts = _doubts(device, profile.software.get("python")) if profile.kind == "jetson" else ()
    return DevicePlatform(
        device=device,
        machine="aarch64" if is_arm else "x86_64",
        pythons=chosen,
        extras=extras,
        system_packages=profile.kind == "jetson" and not doubts,
        doubts=doubts,
    )


def _doubts(device: str, python: str | None) -> tuple[str, ...]:
    """A Jetson whose system has an older Python than edgestill needs another, with an OpenCV of its own."""
    if python is None or python in PYTHONS:
        return ()
    what = (
        f"the last JetPack of {device} has Python {python}: the bundle needs another one, 3.10 to 3.12, there"
    )
    return (f"{what}, which does not see JetPack's TensorRT and OpenCV",)
