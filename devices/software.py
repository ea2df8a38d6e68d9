"""Which libraries this Python has, read from their metadata: nothing is imported to find out."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

DISTRIBUTION = "edgestill"
BASE = "base"
FLOORS = ("edgestill", "devices", "runtime", "export", "distill", "benchmarks")

#: Where the import name is not the distribution's.
_MODULES = {"opencv-python": "cv2", "pyyaml": "yaml", "faster-coco-eval": "faster_coco_eval"}
_REQUIREMENT = re.compile(r"([\w.-]+)\s*(?:\[([\w,\s-]+)\])?\s*(?:>=\s*([\d.]+))?")
_EXTRA = re.compile(r"extra == ['\"]([\w-]+)['\"]")
_BELOW = re.compile(r"python_version < ['\"](\d+)\.(\d+)['\"]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Extra:
    """One optional part of the project, or its base, and whether its libraries are there.

    Attributes:
        name: The extra's name, or ``base``.
        installed: Version by library.
        missing: Libraries that are not installed.
        outdated: Libraries that are older than asked, with both versions.
    """

    name: str
    installed: dict[str, str]
    missing: tuple[str, ...]
    outdated: tuple[str, ...]

    @property
    def ready(self) -> bool:
        """Whether nothing is missing or too old."""
        return not self.missing and not self.outdated

    @property
    def command(self) -> str | None:
        """What installs the rest; None if there is none."""
        if self.ready:
            return None
        wanted = DISTRIBUTION if self.name == BASE else f"{DISTRIBUTION}[{self.name}]"
        return f"pip install '{wanted}'"


def version(library: str) -> str | None:
    """The installed version; ``"unknown"`` for a module that no package manager of Python put there."""
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        # A Jetson's system OpenCV, for one, is a module without metadata.
        return "unknown" if find_spec(_MODULES.get(library, library)) else None


def versions(libraries: Iterable[str]) -> dict[str, str]:
    """Version by library, of those that are installed."""
    return {name: found for name in libraries if (found := version(name))}


def read_extras(requirements: Iterable[str] | None = None) -> tuple[Extra, ...]:
    """What the project asks for, part by part, and what of it is installed.

    Args:
        requirements: Lines as in a package's metadata; None reads those of the installed project.
    """
    if requirements is None:
        requirements = _requirements()
    parts: dict[str, dict[str, str | None]] = {}
    included: dict[str, tuple[str, ...]] = {}
    for line in requirements:
        wanted, _, marker = line.partition(";")
        parsed, extra, below = _REQUIREMENT.match(wanted), _EXTRA.search(marker), _BELOW.search(marker)
        if parsed is None or (below and sys.version_info >= (int(below[1]), int(below[2]))):
            continue
        part = extra[1] if extra else BASE
        if parsed[1] == DISTRIBUTION:
            included[part] = tuple(name.strip() for name in parsed[2].split(","))
            parts.setdefault(part, {})
        else:
            parts.setdefault(part, {})[parsed[1]] = parsed[3]
    return tuple(_extra(part, _resolve(part, parts, included)) for part in parts)


def shadowed(home: Path, names: Iterable[str] = FLOORS) -> dict[str, str]:
    """The project's import names that lead elsewhere: where they lead, by name.

    Its packages have plain names, so a file called ``runtime.py`` in the working folder would hide one.
    """
    found = {}
    for name in names:
        spec = find_spec(name)
        places = list(spec.submodule_search_locations or [spec.origin or "?"]) if spec else ["nowhere"]
        if not any(Path(place).resolve() == (home / name).resolve() for place in places):
            found[name] = places[0]
    return found


def _requirements() -> list[str]:
    try:
        return metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:  # run from a copied folder, not installed
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
