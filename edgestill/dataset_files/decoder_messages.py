"""Decoding with what the decoder says.

libjpeg and libpng report damage inside a file as a line on the C library's ``stderr``, and OpenCV returns a
JPEG as if nothing had happened. So this stream is a file in memory while images are decoded. Only the C
library's pointer changes: the file descriptor, Python's ``sys.stderr`` and child processes do not.

Several threads may decode at once. If one of them hears anything, it decodes once more alone, so that a
message belongs to one image. Undamaged images cost two locks and two ``fstat``.
"""

from __future__ import annotations

import ctypes
import os
import re
from threading import Condition

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.generic]

UNBUFFERED = 2  # _IONBF of glibc
#: Lines of the decoders; all else that a library writes meanwhile is passed on.
OF_DECODERS = re.compile(
    r"Corrupt JPEG data|Premature end of JPEG|Warning: unknown JFIF|Invalid SOS|Unsupported marker"
    r"|Inconsistent progression|Unknown Adobe|libpng (warning|error)"
)


def decode(data: bytes, flags: int) -> tuple[Pixels | None, str]:
    """Decode an image file.

    Args:
        data: The content of the file.
        flags: ``cv2.IMREAD_...``.

    Returns:
        The pixels, or None if OpenCV cannot decode them; and the first message of libjpeg or libpng, empty if
        there is none. Only glibc's ``stderr`` can be read: elsewhere the message is always empty.
    """
    return (_decode(data, flags), "") if _LISTENER is None else _LISTENER.decode(data, flags)


def _decode(data: bytes, flags: int) -> Pixels | None:
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    except cv2.error:  # raised for a header that says more pixels than OpenCV allows
        return None


class _Listener:
    """The C library's ``stderr`` as a file in memory while images are decoded."""

    def __init__(self, libc: ctypes.CDLL) -> None:
        libc.fdopen.restype, libc.fdopen.argtypes = ctypes.c_void_p, [ctypes.c_int, ctypes.c_char_p]
        libc.setvbuf.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_size_t]
        self._libc = libc
        self._pointer = ctypes.c_void_p.in_dll(libc, "stderr")
        self._before = self._pointer.value
        self.start()

    def start(self) -> None:
        """Open a file of this process, in which no thread decodes: after a fork too."""
        self._pointer.value = self._before
        self._changed = Condition()
        self._decoding = 0
        self._is_alone = False
        self._file = os.memfd_create("edgestill-decoder")
        self._stream = self._libc.fdopen(self._file, b"a")
        self._libc.setvbuf(self._stream, None, UNBUFFERED, 0)

    def decode(self, data: bytes, flags: int) -> tuple[Pixels | None, str]:
        self._enter()
        start = self._size()
        try:
            image = _decode(data, flags)
        finally:
            heard = self._size() != start
            self._leave()
        return (image, "") if not heard else self._decode_alone(data, flags)

    def _decode_alone(self, data: bytes, flags: int) -> tuple[Pixels | None, str]:
        with self._changed:
            self._changed.wait_for(lambda: not self._is_alone)
            self._is_alone = True
            self._changed.wait_for(lambda: not self._decoding)
            self._pointer.value = self._stream
        try:
            image = _decode(data, flags)
        finally:
            with self._changed:
                said = self._restore()
                self._is_alone = False
                self._changed.notify_all()
        return image, next((line for line in said if OF_DECODERS.match(line)), "")

    def _enter(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._is_alone)
            self._decoding += 1
            self._pointer.value = self._stream

    def _leave(self) -> None:
        with self._changed:
            self._decoding -= 1
            if not self._decoding:
                self._restore()
                self._changed.notify_all()

    def _restore(self) -> list[str]:
        """Give the stream back, pass on what is not of a decoder, and return all lines."""
        self._pointer.value = self._before
        size = self._size()
        if not size:
            return []
        said = os.pread(self._file, size, 0).decode(errors="replace").splitlines()
        os.ftruncate(self._file, 0)
        others = [line for line in said if line and not OF_DECODERS.match(line)]
        if others:
            os.write(2, ("\n".join(others) + "\n").encode())
        return said

    def _size(self) -> int:
        return os.fstat(self._file).st_size


def _open_listener() -> _Listener | None:
    """A listener; None without glibc, whose ``stderr`` is a variable."""
    try:
        if not (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc"):
            return None
        listener = _Listener(ctypes.CDLL(None))
    except (AttributeError, OSError, ValueError):  # another system
        return None
    os.register_at_fork(after_in_child=listener.start)
    return listener


_LISTENER = _open_listener()
