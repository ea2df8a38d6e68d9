"""The wall clock, for names and time stamps only: it may be wrong, and jump forward or back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone

#: Returns the present time with its time zone.
Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The present time, UTC."""
    return datetime.now(timezone.utc)
