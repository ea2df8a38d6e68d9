"""Sequences of test images, which are resampled as a whole: images of one drive are not independent.

A sequence is a run of images of one source whose numbers follow each other with gaps of at most ``GAP``. The
number is the last group of digits in the file name, and what stands before it names the source.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

GAP = 10
_NUMBERED = re.compile(r"(.*?)(\d+)\D*")


def sequence_of(names: Sequence[str]) -> list[int]:
    """The sequence of each image, counted from 0 in the order of source and number.

    Args:
        names: File names. One without a number is a sequence of its own.
    """
    keyed = sorted((_key(name), i) for i, name in enumerate(names))
    found, last, count = [0] * len(names), ("", -GAP - 1), -1
    for (source, number), i in keyed:
        if source != last[0] or number < 0 or number - last[1] > GAP:
            count += 1
        found[i], last = count, (source, number)
    return found


def _key(name: str) -> tuple[str, int]:
    """Source and number of an image; -1 without a number."""
    stem = Path(name).stem
    numbered = _NUMBERED.fullmatch(stem)
    return (numbered[1], int(numbered[2])) if numbered else (stem, -1)
