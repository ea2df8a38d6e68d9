"""The TOML files of ``devices/profiles``: one for each family, its figures grouped by their source.

    family = "Jetson Orin"              # for display
    kind = "jetson"                     # fields without a source hold for every device of the file
    backends = ["ort", "trt"]

    [[facts]]                           # figures of every device of the file, with their source
    source = "developer.nvidia.com/cuda-gpus"
    compute_capability = "8.7"

    [[device]]
    key = "jetson-orin-nano"
    title = "Jetson Orin Nano 8 GB"

    [[device.facts]]                    # figures of this device; they replace those of the family
    source = "Jetson Orin Nano Series data sheet"
    sms = 8

    [[device.facts]]
    source = "a forum"
    unverified = true                   # shown with a mark
    gpu_mhz = 625

The fields are those of ``devices.profile_fields.DeviceProfile``. A graphics card without ``gpu_names`` is
called by its title.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from devices.profile_fields import BACKENDS, KINDS, UNITS, DeviceProfile, PowerMode
from edgestill.errors import DeviceError
from edgestill.spec import PRECISIONS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Number = (int, float)
#: Fields that describe a device and are no figures; they need no source.
_WORDS = ("family", "key", "title", "kind", "backends", "precisions", "notes")
_NEEDED = ("family", "key", "title", "kind", "backends", "precisions")
#: Figures with names of units.
_BY_UNIT = ("ops_per_clock", "published_peaks")
_TYPES: Mapping[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("family", "key", "title", "kind", "compute_capability", "cuda"), str),
    **dict.fromkeys(("memory_mib", "sms", "cpu_cores", "tensor_cores", "dla_cores"), int),
    **dict.fromkeys(("bandwidth_gb_s", "gpu_mhz", "cpu_mhz"), Number),
    **dict.fromkeys(("video_encoder", "super_mode"), bool),
}  # the other fields are lists of strings, of power modes, or numbers by unit
_MODE_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "name": str,
    "id": int,
    "gpu_mhz": Number,
    "bandwidth_gb_s": Number,
    "default": bool,
}
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "kind": KINDS,
    "backends": BACKENDS,
    "precisions": PRECISIONS,
}


def read_family(path: Path) -> tuple[DeviceProfile, ...]:
    """The devices of one file, in its order.

    Raises:
        DeviceError: The file is not TOML, or has missing, unknown or wrong fields; the message names them.
    """
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise DeviceError(f"{path.name} is not TOML: {error}", hint="correct the file") from error
    common = {name: value for name, value in data.items() if name not in {"facts", "device"}}
    shared = _Figures(path.name)
    shared.add(data.get("facts", []))
    return tuple(_device(path.name, common, shared, device) for device in data.get("device", []))


class _Figures:
    """Figures by name, with their sources.

    Attributes:
        values: The figures.
        sources: By figure, its source; ``ops_per_clock.fp32`` for one of a unit.
        unverified: Those from one weak source.
    """

    def __init__(self, place: str, base: _Figures | None = None) -> None:
        self.place = place
        self.values: dict[str, Any] = dict(base.values) if base else {}
        self.sources: dict[str, str] = dict(base.sources) if base else {}
        self.unverified: set[str] = set(base.unverified) if base else set()

    def add(self, facts: Iterable[Mapping[str, Any]]) -> None:
        """Add groups of figures; each figure may be in one of them."""
        added: set[str] = set()
        for fact in facts:
            source = fact.get("source")
            if not isinstance(source, str) or not source.strip():
                raise DeviceError(f"{self.place}: facts without a source: {fact}", hint="add source = ...")
            for name, value in fact.items():
                if name in {"source", "unverified"}:
                    continue
                by_unit = name in _BY_UNIT and isinstance(value, Mapping)
                for figure in [f"{name}.{unit}" for unit in value] if by_unit else [name]:
                    if figure in added:
                        raise DeviceError(f"{self.place}: {figure} stands twice", hint="keep one source")
                    added.add(figure)
                    self.sources[figure] = source
                    self.unverified.discard(figure)
                    if fact.get("unverified", False):
                        self.unverified.add(figure)
                self.values[name] = {**self.values.get(name, {}), **value} if by_unit else value


def _device(
    file: str, common: Mapping[str, Any], shared: _Figures, device: Mapping[str, Any]
) -> DeviceProfile:
    place = f"{file}: {device.get('key', 'a device without a key')}"
    figures = _Figures(place, shared)
    figures.add(device.get("facts", []))
    words = {**common, **{name: value for name, value in device.items() if name != "facts"}}
    words["notes"] = [*common.get("notes", []), *device.get("notes", [])]
    _check(place, words, figures.values)
    values = {**words, **figures.values}
    if words["kind"] == "gpu" and "gpu_names" not in values:
        values["gpu_names"] = [re.escape(words["title"])]
    lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    lists["power_modes"] = tuple(PowerMode(**mode) for mode in values.get("power_modes", ()))
    return DeviceProfile(
        **{**values, **lists}, sources=figures.sources, unverified=tuple(sorted(figures.unverified))
    )


def _check(place: str, words: Mapping[str, Any], figures: Mapping[str, Any]) -> None:
    known = {f.name for f in fields(DeviceProfile)} - {"sources", "unverified"} - set(_WORDS)
    odd = sorted((set(_NEEDED) - set(words)) | (set(words) - set(_WORDS)) | (set(figures) - known))
    if odd:
        raise DeviceError(
            f"{place}: missing, unknown or without a source: {', '.join(odd)}",
            hint=f"a device has {', '.join(_WORDS)}; and, in facts with a source, {', '.join(sorted(known))}",
        )
    given = {**words, **figures}
    wrong = sorted(name for name, value in given.items() if not _fits(name, value))
    if wrong:
        raise DeviceError(
            f"{place}: wrong value in: {', '.join(f'{n} = {given[n]!r}' for n in wrong)}",
            hint="; ".join(f"{n}: {' '.join(c)}" for n, c in _CHOICES.items()),
        )


def _fits(name: str, value: Any) -> bool:
    if name in _BY_UNIT:
        return isinstance(value, dict) and all(u in UNITS and _is(n, Number) for u, n in value.items())
    if name == "power_modes":
        return isinstance(value, list) and all(map(_is_mode, value))
    if name in _TYPES:
        fits = _is(value, _TYPES[name])
    else:
        fits = isinstance(value, list) and all(isinstance(item, str) for item in value)
    if fits and name in _CHOICES:
        fits = set([value] if isinstance(value, str) else value) <= set(_CHOICES[name])
    return fits


def _is(value: Any, kind: type | tuple[type, ...]) -> bool:
    """Whether a value has a type; a bool is no number."""
    return isinstance(value, kind) and isinstance(value, bool) == (kind is bool)


def _is_mode(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and "name" in value
        and all(n in _MODE_TYPES and _is(v, _MODE_TYPES[n]) for n, v in value.items())
    )
