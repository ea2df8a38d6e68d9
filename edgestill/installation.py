"""The command that installs this project, or an extra of it, again: it is on no package index.

Source of ``direct_url.json``, in which pip records from where it installed a package:
https://packaging.python.org/en/latest/specifications/direct-url/
"""

from __future__ import annotations

import json
import re
import shlex
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlsplit

DISTRIBUTION = "edgestill"
_EXTRA = re.compile(r"extra == ['\"]([\w-]+)['\"]")
_PYTHON = "python_version <"  # requirements of older Pythons: the last resort leaves them out


def pip_command(extra: str | None = None) -> str:
    """A command that installs the base or one extra.

    The first of: the source folder that this process runs from; the folder, wheel or address that pip
    installed from, if it is still there; the names of the extra's libraries.
    """
    checkout = Path(__file__).resolve().parent.parent
    if _is_source(checkout):
        place = "." if checkout == Path.cwd() else str(checkout)
        return f"pip install -e {_quoted(place, extra)}"
    origin = _origin()
    if origin is None:
        return f"pip install {' '.join(shlex.quote(line) for line in _libraries(extra)) or DISTRIBUTION}"
    if "://" in origin:  # a named requirement, the only form that takes an extra with an address
        named = f"{DISTRIBUTION}[{extra}]" if extra else DISTRIBUTION
        return f"pip install {shlex.quote(f'{named} @ {origin}')}"
    return f"pip install {_quoted(origin, extra)}"


def wheel_source() -> str:
    """What ``pip wheel`` makes a wheel of this installation from: its source folder, wheel or address.

    Where none of them is there any more, it is the name and version, which pip must find by ``--find-links``.
    """
    checkout = Path(__file__).resolve().parent.parent
    if _is_source(checkout):
        return "." if checkout == Path.cwd() else str(checkout)
    return _origin() or f"{DISTRIBUTION}=={metadata.version(DISTRIBUTION)}"


def _is_source(folder: Path) -> bool:
    return (folder / "pyproject.toml").is_file()


def _quoted(place: str, extra: str | None) -> str:
    return shlex.quote(f"{place}[{extra}]" if extra else place)


def _origin() -> str | None:
    """The folder, wheel or address in ``direct_url.json``; None without one, or if the path is gone."""
    try:
        found = json.loads(metadata.distribution(DISTRIBUTION).read_text("direct_url.json") or "")
        url = str(found["url"])
        control = found.get("vcs_info", {}).get("vcs")
    except (metadata.PackageNotFoundError, OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    if control:
        return f"{control}+{url}"
    parts = urlsplit(url)
    if parts.scheme != "file":
        return url
    path = Path(unquote(parts.path))
    return str(path) if path.is_file() or _is_source(path) else None


def _libraries(extra: str | None) -> list[str]:
    """The requirements of an extra, with those of the extras that it includes."""
    try:
        lines = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return []
    found: dict[str, None] = {}
    waiting = [extra]
    while waiting:
        wanted = waiting.pop()
        for line in lines:
            requirement, _, marker = (part.strip() for part in line.partition(";"))
            named = _EXTRA.search(marker)
            if (named[1] if named else None) != wanted or _PYTHON in marker:
                continue
            included = re.fullmatch(rf"{DISTRIBUTION}\[([\w,\s-]+)\]", requirement)
            if included:
                waiting += [name.strip() for name in included[1].split(",")]
            else:
                found[requirement] = None
    return list(found)
