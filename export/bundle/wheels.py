"""The wheels that a device needs, chosen from a folder, and the commands that fill that folder.

The folder is the only source: nothing is downloaded. What is needed follows from the metadata of the wheels
themselves, evaluated for the device's Python and architecture. pip cannot do that for another machine: it
evaluates environment markers for the Python that it runs in.

Source: https://packaging.python.org/en/latest/specifications/dependency-specifiers/
"""

from __future__ import annotations

import shlex
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import edgestill
from edgestill.errors import ArtifactError, UsageError, missing_library
from edgestill.installation import DISTRIBUTION, wheel_source
from export.bundle.device_platform import LEVELS, OPENCV, DevicePlatform

if TYPE_CHECKING:
    from packaging.metadata import Metadata
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet
    from packaging.version import Version

PIP = "pip"
MAX_METADATA = 1 << 20  # bytes of a wheel's METADATA


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenWheels:
    """The wheels of a bundle.

    Attributes:
        by_python: By Python version, the wheels that are installed.
        pip: The wheel of pip, which installs them.
    """

    by_python: Mapping[str, tuple[Path, ...]]
    pip: Path

    def files(self) -> dict[str, Path]:
        """All wheels by name."""
        paths = [self.pip, *(path for chosen in self.by_python.values() for path in chosen)]
        return {path.name: path for path in paths}


def choose_wheels(folder: Path, device: DevicePlatform) -> ChosenWheels:
    """The newest fitting wheels of a folder that a device needs.

    Args:
        folder: Has the wheels, and may have others.
        device: Decides what is needed and what fits.

    Raises:
        ArtifactError: A wheel is broken.
        DeviceError: The ``packaging`` library is not installed.
        UsageError: The folder lacks wheels; the hint is the command that adds them.
    """
    try:
        import packaging.metadata  # noqa: F401, PLC0415 (for bundles only)
    except ImportError as error:
        raise missing_library("choosing wheels", error.name, "bundle") from error
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder of wheels", hint=fill_commands(folder, device))
    found = _wheels_in(folder)
    closures = {python: _Closure(found, device, python) for python in device.pythons}
    lacking = {python: closure.lacking for python, closure in closures.items() if closure.lacking}
    pip = _newest(found.get(PIP, ()))
    if lacking or pip is None:
        missing = [f"{', '.join(names)} (Python {python})" for python, names in lacking.items()] or [PIP]
        raise UsageError(
            f"{folder} lacks wheels for {device.machine}: {'; '.join(missing)}",
            # Without edgestill itself nothing tells what else is lacking.
            hint=fill_commands(
                folder, device, (lacking or {device.pythons[0]: [PIP]}) if DISTRIBUTION in found else None
            ),
        )
    return ChosenWheels(
        by_python={python: closure.paths for python, closure in closures.items()}, pip=pip.path
    )


def own_wheel_doubts(chosen: ChosenWheels) -> tuple[str, ...]:
    """Whether the wheel of edgestill has other code than the edgestill that runs, though the same version."""
    path = next(path for path in chosen.files().values() if path.name.startswith(f"{DISTRIBUTION}-"))
    home = Path(edgestill.__file__).resolve().parent.parent
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            mine = home / name
            if name.endswith(".py") and not (mine.is_file() and mine.read_bytes() == archive.read(name)):
                command = (
                    f"pip wheel --no-deps -w {shlex.quote(str(path.parent))} {shlex.quote(wheel_source())}"
                )
                return (f"{path} has another {name} than the edgestill that runs: make it again, {command}",)
    return ()


def fill_commands(
    folder: Path, device: DevicePlatform, lacking: Mapping[str, Sequence[str]] | None = None
) -> str:
    """The commands that fill a folder with the wheels for a device, joined by ``&&``.

    Args:
        folder: The folder; it need not exist.
        device: For what.
        lacking: By Python version, requirements that are missing; None for all.
    """
    where = shlex.quote(str(folder))
    commands = []
    wanted = lacking or {python: _first_needs(device, python) for python in device.pythons}
    if any(line.startswith(DISTRIBUTION) for lines in wanted.values() for line in lines):
        commands.append(f"pip wheel --no-deps -w {where} {shlex.quote(wheel_source())}")
    platforms = " ".join(f"--platform manylinux{level}_{device.machine}" for level in LEVELS)
    for python, lines in wanted.items():
        names = [shlex.quote(line) for line in lines if not line.startswith(DISTRIBUTION)]
        if names:
            options = f"--only-binary=:all: --python-version {python} {platforms}"
            commands.append(f"pip download -d {where} {options} {' '.join(names)}")
    return " && ".join(commands)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Wheel:
    """A wheel in the folder: its file, version and tags."""

    path: Path
    version: Version
    tags: frozenset[Any]


class _Closure:
    """What one Python of a device needs, and which wheels of the folder that is.

    Attributes:
        paths: The wheels, sorted by name.
        lacking: Requirements that no wheel fulfils.
    """

    def __init__(self, found: Mapping[str, Sequence[_Wheel]], device: DevicePlatform, python: str) -> None:
        self._found, self._tags = found, device.tags(python)
        self._environment, self._python = device.environment(python), python
        self._left_out = OPENCV if device.system_packages else frozenset()
        self._refused: set[Path] = set()
        first = _requirements(device)
        while True:
            self._limits: dict[str, SpecifierSet] = {}
            while self._resolve(first):  # again while a new limit may change an earlier choice
                pass
            if (wheel := self._too_demanding()) is None:
                break
            self._refused.add(wheel.path)
        self.paths = tuple(sorted(wheel.path for wheel in self._chosen.values()))

    def _resolve(self, first: Iterable[Requirement]) -> bool:
        """Follow the requirements once; whether the limits became tighter."""
        before = dict(self._limits)
        self._chosen: dict[str, _Wheel] = {}
        self.lacking: list[str] = []
        self._asked: dict[str, list[tuple[SpecifierSet, _Wheel | None]]] = {}
        waiting: list[tuple[Requirement, _Wheel | None]] = [(wanted, None) for wanted in first]
        seen: set[tuple[str, str]] = set()
        while waiting:
            wanted, asking = waiting.pop()
            name = _normal(wanted.name)
            if name in self._left_out:
                continue
            self._asked.setdefault(name, []).append((wanted.specifier, asking))
            self._limits[name] = self._limits.get(name, wanted.specifier) & wanted.specifier
            wheel = self._choose(name)
            if wheel is None:
                self.lacking += [line for line in [f"{name}{self._limits[name]}"] if line not in self.lacking]
                continue
            self._chosen[name] = wheel
            for extra in {"", *wanted.extras} - {extra for known, extra in seen if known == name}:
                seen.add((name, extra))
                waiting += [(needed, wheel) for needed in self._needed_by(wheel, extra)]
        return self._limits != before

    def _choose(self, name: str) -> _Wheel | None:
        """The newest wheel of that name that fits the device and the limits."""
        return _newest(self._fitting(name, [self._limits[name]]))

    def _fitting(self, name: str, limits: Sequence[SpecifierSet]) -> Iterator[_Wheel]:
        for wheel in self._found.get(name, ()):
            if (
                wheel.path not in self._refused
                and wheel.tags & self._tags
                and all(limit.contains(wheel.version, prereleases=True) for limit in limits)
                and _takes(_metadata(wheel.path), self._python)
            ):
                yield wheel

    def _too_demanding(self) -> _Wheel | None:
        """A chosen wheel that alone keeps a demand from being fulfilled; there is an older one of it."""
        for name, asked in self._asked.items():
            if name in self._chosen:
                continue
            for specifier, wheel in asked:
                others = [limit for limit, asking in asked if asking is not wheel]
                # That of the device itself, e.g. numpy<2, stands: a newer wheel gives way to an older one.
                if wheel is None or not any(self._fitting(name, others)):
                    continue
                own = _normal(wheel.path.name.partition("-")[0])
                if specifier and len(list(self._fitting(own, [self._limits[own]]))) > 1:
                    return wheel
        return None

    def _needed_by(self, wheel: _Wheel, extra: str) -> Iterator[Requirement]:
        values = {**self._environment, "extra": extra}
        for requirement in _metadata(wheel.path).requires_dist or ():
            # Without an extra those of all extras are left out: their markers are false for "".
            if (requirement.marker is None and not extra) or (
                requirement.marker is not None and requirement.marker.evaluate(values)
            ):
                yield requirement


def _requirements(device: DevicePlatform) -> list[Requirement]:
    from packaging.requirements import Requirement  # noqa: PLC0415

    own = f"{DISTRIBUTION}[{','.join(device.extras)}]=={edgestill.__version__}"
    return [Requirement(line) for line in (own, *device.needs)]


def _first_needs(device: DevicePlatform, python: str) -> list[str]:
    """The requirements of this installation that the device needs, and pip, for an empty folder."""
    from importlib.metadata import requires  # noqa: PLC0415

    from packaging.requirements import Requirement  # noqa: PLC0415

    lines = [f"{DISTRIBUTION}=={edgestill.__version__}", PIP]
    for line in requires(DISTRIBUTION) or ():
        requirement = Requirement(line)
        values = [{**device.environment(python), "extra": extra} for extra in ("", *device.extras)]
        fits = requirement.marker is None or any(map(requirement.marker.evaluate, values))
        left_out = device.system_packages and _normal(requirement.name) in OPENCV
        if fits and not left_out and _normal(requirement.name) != DISTRIBUTION:
            lines.append(f"{requirement.name}{requirement.specifier}")
    return [*lines, *(line for line in device.needs if not any(one.startswith(line) for one in lines))]


def _wheels_in(folder: Path) -> dict[str, list[_Wheel]]:
    """The wheels of a folder by normalised name; other files are left out."""
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename  # noqa: PLC0415

    found: dict[str, list[_Wheel]] = {}
    for path in sorted(folder.glob("*.whl")):
        try:
            name, version, _, tags = parse_wheel_filename(path.name)
        except InvalidWheelFilename:
            continue
        found.setdefault(name, []).append(_Wheel(path=path, version=version, tags=tags))
    return found


@cache
def _metadata(path: Path) -> Metadata:
    """The METADATA of a wheel."""
    from packaging.metadata import Metadata  # noqa: PLC0415

    try:
        with zipfile.ZipFile(path) as archive:
            names = [n for n in archive.namelist() if n.count("/") == 1 and n.endswith(".dist-info/METADATA")]
            if len(names) != 1 or archive.getinfo(names[0]).file_size > MAX_METADATA:
                raise ValueError("it has no METADATA, or several")  # noqa: TRY301 (one message with those below)
            found = Metadata.from_email(archive.read(names[0]), validate=False)
            found.requires_dist, found.requires_python  # noqa: B018 (parsed when they are read)
            return found
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise ArtifactError(f"{path} is a broken wheel: {error}", hint="download it again") from error


def _takes(metadata: Metadata, python: str) -> bool:
    """Whether a wheel takes a Python: one for py3 may need a newer one than its name tells."""
    # Any patch release of it will do: e.g. >=3.10.2 excludes only systems that are long out of support.
    limit = metadata.requires_python
    return limit is None or limit.contains(f"{python}.99", prereleases=True)


def _newest(wheels: Iterable[_Wheel]) -> _Wheel | None:
    # Of equal versions the last by name, so that the choice does not depend on the file system.
    return max(wheels, key=lambda wheel: (wheel.version, wheel.path.name), default=None)


def _normal(name: str) -> str:
    from packaging.utils import canonicalize_name  # noqa: PLC0415

    return canonicalize_name(name)
