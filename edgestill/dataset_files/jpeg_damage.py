"""Damage inside a JPEG: what libjpeg says of it, and holes that it does not see.

OpenCV decodes a damaged JPEG to a picture that is partly grey or shifted. libjpeg says so, but warns of
harmless things too: some cameras write a few bytes more than they need.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import cv2

from edgestill.dataset_files.decoder_messages import decode

START, END = b"\xff\xd8", b"\xff\xd9"
START_OF_SCAN, HUFFMAN_TABLES = 0xDA, 0xC4
SEQUENTIAL = frozenset({0xC0, 0xC1})  # frames with Huffman tables that are decoded in one go
WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xDA)})

HARMFUL = re.compile(r"Corrupt JPEG data: (?!bad ICC)|Premature end of JPEG|Inconsistent progression")
EXTRANEOUS = re.compile(r"Corrupt JPEG data: (\d+) extraneous bytes before marker 0x(\w\w)")
HARMLESS_BYTES = 2  # that any encoder may leave over
USB_BYTES = 10  # that cameras on USB leave over before a restart marker
READ_AHEAD = 8  # bytes that libjpeg has taken from the file but not used
HOLE = bytes(32)


def is_whole(data: bytes) -> bool:
    """Whether the picture in a JPEG file has its end marker; more may follow it, as a film or a thumbnail."""
    return data.rfind(END) > scan_start(data) > 0


def damage(data: bytes, said: str) -> str:
    """What is damaged in a JPEG file; empty if nothing is.

    Args:
        data: The content of the file.
        said: What libjpeg said while it decoded the file.
    """
    if _is_padding(data, said):  # the fill bytes are no hole
        return _hole(data[: data.find(END, scan_start(data))].rstrip(b"\0") + END)
    if HARMFUL.match(said):
        found = EXTRANEOUS.match(said)
        cleaned = _without_junk(data) if found and int(found[2], 16) not in WITHOUT_LENGTH else None
        # Only the first message is printed, so junk between the headers hides what follows.
        return said if cleaned is None else damage(cleaned, decode(cleaned, cv2.IMREAD_COLOR)[1])
    return _hole(data)


def scan_start(data: bytes) -> int:
    """Where the first scan's compressed data begin; 0 if there is none."""
    for marker, start, end in _segments(data):
        if marker == START_OF_SCAN:
            return end if end > start else 0
    return 0


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """The segments of the header up to the first scan: marker, start and end of the content."""
    place = len(START)
    while (place := data.find(b"\xff", place)) >= 0 and place + 4 <= len(data):
        marker = data[place + 1]
        if marker in (0x00, 0xFF) or marker in WITHOUT_LENGTH:
            place += 1 if marker == 0xFF else 2
            continue
        end = place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        yield marker, place + 4, end
        if marker == START_OF_SCAN:
            return
        place = end


def _is_padding(data: bytes, said: str) -> bool:
    """Whether the bytes that libjpeg found superfluous are fill bytes, and not picture data that it lost."""
    found = EXTRANEOUS.match(said)
    if found is None:
        return False
    count, marker = int(found[1]), int(found[2], 16)
    if count <= HARMLESS_BYTES and marker in WITHOUT_LENGTH:
        return True
    if marker != END[1]:
        return marker in WITHOUT_LENGTH and count <= USB_BYTES
    end = data.find(END, scan_start(data))
    fill = data[end - 1 : end]
    run = end - len(data[:end].rstrip(fill))
    # A run that began before libjpeg was done is a hole in the picture.
    return count <= run <= count + READ_AHEAD


def _without_junk(data: bytes) -> bytes | None:
    """The file with nothing between the segments of its header; None if there is nothing already."""
    parts, last = [START], len(START)
    junk = 0
    for marker, start, end in _segments(data):
        junk += start - 4 - last
        parts.append(bytes((0xFF, marker)) + data[start - 2 : end])
        last = end
    return b"".join((*parts, data[last:])) if junk else None


def _hole(data: bytes) -> str:
    """A long run of zero bytes where no picture has one; empty if there is none.

    libjpeg decodes zeros as well as anything else, and may end at the right place by chance.
    """
    if HOLE not in data:  # as a rule, and the search takes microseconds
        return ""
    start = scan_start(data)
    place = data.find(HOLE, start)
    if place < 0 or place > data.find(END, start) or not _zeros_are_a_pattern(data):
        return ""
    length = len(data) - place - len(data[place:].lstrip(b"\0"))
    return f"{length} zero bytes in the picture's data"


def _zeros_are_a_pattern(data: bytes) -> bool:
    """Whether zero bits are coefficients of the first component, and not the end of a flat block."""
    tables: dict[int, int] = {}  # by table, the value of the code of zeros
    components = 0
    for marker, start, end in _segments(data):
        if marker in SEQUENTIAL:
            components = data[start + 5]
        if marker == HUFFMAN_TABLES:
            place = start
            while place + 17 < end:
                tables[data[place]] = data[place + 17]
                place += 17 + sum(data[place + 1 : place + 17])
        if marker == START_OF_SCAN:
            interleaved = components == data[start]
            return interleaved and tables.get(0x10 | data[start + 2] & 0x0F, 1) & 0x0F > 0
    return False
