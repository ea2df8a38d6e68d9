"""The allocator of the C library."""

from __future__ import annotations

import ctypes

#: Parameter of ``mallopt``. Source: malloc.h of glibc.
_ARENA_MAX = -8


def share_one_heap() -> bool:
    """Have all threads of this process allocate from one heap; call before they start.

    glibc gives each thread a heap of its own, and what one has freed the others cannot use. Large arrays have
    pages of their own in any case.

    Returns:
        Whether the C library does so: False for one other than glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and mallopt(_ARENA_MAX, 1) == 1
