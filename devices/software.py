"""Installed libraries and their versions, from package metadata; no library is imported."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from edgestill.errors import FOR_NUMPY_1, is_built_for_numpy_1
from edgestill.installation import DISTRIBUTION, pip_command

BASE = "base"
FLOORS = ("edgestill", "devices", "runtime", "export", "distill", "benchmarks")

#: Import names that differ from the name of the distribution.
_MODULES = {"opencv-python": "cv2", "pillow": "PIL", "pyyaml": "yaml"}
_REQUIREMENT = re.compile(r"([\w.-]+)\s*(?:\[([\w,\s-]+)\])?\s*(?:>=\s*([\d.]+))?")
_EXTRA = re.compile(r"extra == ['\"]([\w-]+)['\"]")
_MACHINES = re.compile(r"platform_machine in ['\"]([\w ]+)['\"]")
_BELOW = re.compile(r"python_version < ['\"](\d+)\.(\d+)['\"]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Extra:
    """An extra of the project, or its base, and the state of its libraries.

    Attributes:
        name: Name of the extra, or ``base``.
        installed: Versions of the installed libraries, by name.
        missing: Libraries that are not installed.
        outdated: Libraries that are older than required, with both versions.
        broken: Libraries that cannot be imported, with the reason; empty if that was not tried, see
            ``devices.import_check``.
        facts: What the imported libraries have or lack, as sentences.
    """

    name: str
    installed: dict[str, str]
    missing: tuple[str, ...]
    outdated: tuple[str, ...]
    broken: Mapping[str, str] = field(default_factory=dict)
    facts: tuple[str, ...] = ()

    @property
    def ready(self) -> bool:
        """Whether nothing is missing, too old or broken."""
        return not (self.missing or self.outdated or self.broken)

    @property
    def command(self) -> str | None:
        """The command that installs what is missing or broken; None if nothing is."""
        if self.missing or self.outdated:
            return pip_command(None if self.name == BASE else self.name)
        if any(map(is_built_for_numpy_1, self.broken.values())):
            return FOR_NUMPY_1
        if self.broken:
            return f"pip install --force-reinstall --no-deps {' '.join(sorted(self.broken))}"
        return None


def version(library: str) -> str | None:
    """The installed version; ``"unknown"`` for a module without package metadata; None if not installed."""
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        # For example the system OpenCV of a Jetson is a module without metadata.
        return "unknown" if find_spec(module_of(library)) else None


def module_of(library: str) -> str:
    """The name by which a library is imported."""
    return _MODULES.get(library, library.replace("-", "_"))


def versions(libraries: Iterable[str]) -> dict[str, str]:
    """Versions of those libraries that are installed, by name."""
    return {name: found for name in libraries if (found := version(name))}


def read_extras(requirements: Iterable[str] | None = None) -> tuple[Extra, ...]:
    """The requirements of the project's base and extras, and which of them are installed.

    Args:
        requirements: Requirement lines of package metadata; None for those of the installed project.
    """
    if requirements is None:
        requirements = _requirements()
    parts: dict[str, dict[str, str | None]] = {}
    included: dict[str, tuple[str, ...]] = {}
    for line in requirements:
        wanted, _, marker = line.partition(";")
        parsed, extra, below = _REQUIREMENT.match(wanted), _EXTRA.search(marker), _BELOW.search(marker)
        machines = _MACHINES.search(marker)
        if parsed is None or (below and sys.version_info >= (int(below[1]), int(below[2]))):
            continue
        if machines and platform.machine() not in machines[1].split():
            continue
        part = extra[1] if extra else BASE
        if parsed[1] == DISTRIBUTION:
            included[part] = tuple(name.strip() for name in parsed[2].split(","))
            parts.setdefault(part, {})
        else:
            parts.setdefault(part, {})[parsed[1]] = parsed[3]
    return tuple(_extra(part, _resolve(part, parts, included)) for part in parts)


def shadowed(root: Path, names: Iterable[str] = FLOORS) -> dict[str, str]:
    """The project's top-level packages that are imported from somewhere else: that path, by package.

    The packages have common names, so a file called ``runtime.py`` in the working folder would hide one.

    Args:
        root: The folder that contains the project's packages.
        names: Names of packages.
    """
    found = {}
    for name in names:
        spec = find_spec(name)
        paths = list(spec.submodule_search_locations or [spec.origin or "?"]) if spec else ["nowhere"]
        if not any(Path(path).resolve() == (root / name).resolve() for path in paths):
            found[name] = paths[0]
    return found


def _requirements() -> list[str]:
    try:
        return metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:  # run from a source folder, not installed
        return []


def _resolve(
    part: str, parts: dict[str, dict[str, str | None]], included: dict[str, tuple[str, ...]]
) -> dict[str, str | None]:
    whole: dict[str, str | None] = {}
    for name in included.get(part, ()):
        whole |= _resolve(name, parts, included)
    return whole | parts.get(part, {})


def _extra(name: str, libraries: dict[str, str | None]) -> Extra:
    installed = versions(libraries)
    outdated = tuple(
        f"{library} {have}, needs {least}"
        for library, have in installed.items()
        if (least := libraries[library]) and have != "unknown" and _numbers(have) < _numbers(least)
    )
    missing = tuple(library for library in libraries if library not in installed)
    return Extra(name=name, installed=installed, missing=missing, outdated=outdated)


def _numbers(text: str) -> tuple[int, ...]:
    """``"2.13.0+cpu"`` -> ``(2, 13, 0)``."""
    return tuple(int(n) for n in re.findall(r"\d+", text.partition("+")[0]))
