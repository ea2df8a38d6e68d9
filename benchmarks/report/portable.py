"""Reports without absolute paths: a page that is passed on tells nothing of its writer's folders.

A path below the working folder becomes relative to it. Another one keeps its last two parts, or as many as
tell it from the other paths of the report. Devices and the kernel's own files (``/dev``, ``/proc``, ``/sys``,
``/etc``) stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

KEPT = ("/dev/", "/proc/", "/sys/", "/etc/")
NOT_TEXT = frozenset({"svg", "narrow_svg", "data", "mime", "tone"})  # fields of blocks
_STOP = r"\s'\"/\\:;,()<>|"
_PATH = re.compile(
    rf"'(?P<quoted>~?/[^']*)'|(?P<plain>(?:file://|(?<![\w./:~<]))~?/(?:[^{_STOP}]+/)+[^{_STOP}]*"
    r"|(?<!\w)[A-Za-z]:\\[^\s'\"]+)"
)

Block = TypeVar("Block")


class PathLabels:
    """Replaces absolute paths in texts by labels that are no longer than they must be.

    Args:
        texts: All texts of a report.
        folder: The working folder; None for the present one.
    """

    def __init__(self, texts: Iterable[str], folder: Path | None = None) -> None:
        self._folder = (folder or Path.cwd()).as_posix().rstrip("/") + "/"
        self._labels = _unique_tails({path for text in texts for path in self._foreign(text)})

    def __call__(self, text: str) -> str:
        """The text without absolute paths."""
        if _is_path(text):
            return self._label(text)
        return _PATH.sub(self._replaced, text)

    def _replaced(self, found: re.Match[str]) -> str:
        quoted = found["quoted"]
        if quoted is None:
            return self._label(found["plain"])
        label = self._label(quoted)
        return f"'{label}'" if " " in label else label

    def _label(self, path: str) -> str:
        bare = path.removeprefix("file://")
        if bare.startswith(KEPT):
            return path
        if bare.startswith(self._folder) and bare != self._folder:
            return bare.removeprefix(self._folder)
        return self._labels.get(bare) or _tail(bare, 2)

    def _foreign(self, text: str) -> Iterator[str]:
        """The paths in a text that are neither kept nor below the working folder."""
        whole = [text] if _is_path(text) else []
        for path in whole or [found["quoted"] or found["plain"] for found in _PATH.finditer(text)]:
            bare = path.removeprefix("file://")
            if not bare.startswith((*KEPT, self._folder)):
                yield bare


def portable(block: Block, labels: PathLabels) -> Block:
    """The same block, or sequence or mapping of blocks, with labels for all absolute paths in its texts."""
    found: Any = block
    if isinstance(found, str):
        found = labels(found)
    elif isinstance(found, Mapping):
        found = {portable(key, labels): portable(value, labels) for key, value in found.items()}
    elif isinstance(found, Sequence) and not isinstance(found, bytes):
        found = [portable(one, labels) for one in found]
    elif is_dataclass(found) and not isinstance(found, type):
        changed = {
            f.name: portable(getattr(found, f.name), labels) for f in fields(found) if f.name not in NOT_TEXT
        }
        found = replace(found, **changed)
    return found  # type: ignore[no-any-return]


def texts_in(block: Any) -> Iterator[str]:
    """All texts of a block, or of a sequence or mapping."""
    if isinstance(block, str):
        yield block
    elif isinstance(block, Mapping):
        yield from texts_in([*block.keys(), *block.values()])
    elif isinstance(block, Sequence) and not isinstance(block, bytes):
        for one in block:
            yield from texts_in(one)
    elif is_dataclass(block) and not isinstance(block, type):
        yield from texts_in([getattr(block, f.name) for f in fields(block) if f.name not in NOT_TEXT])


def _is_path(text: str) -> bool:
    """Whether a text as a whole is an absolute path; it may have spaces in it."""
    return text.startswith(("/", "~/")) and len(text) > 1 and " /" not in text and "\n" not in text


def _unique_tails(paths: set[str]) -> dict[str, str]:
    """The last parts of each path, two or as many as no other path ends in."""
    found = {}
    for path in paths:
        others, count = paths - {path}, 2
        most = len(_parts(path))
        while count < most and any(_tail(other, count) == _tail(path, count) for other in others):
            count += 1
        found[path] = _tail(path, count)
    return found


def _parts(path: str) -> list[str]:
    return [part for part in re.split(r"[/\\]", path) if part]


def _tail(path: str, count: int) -> str:
    """The last parts; not all of them, where there are more than one."""
    parts = _parts(path)
    return "/".join(parts[-min(count, max(len(parts) - 1, 1)) :])
