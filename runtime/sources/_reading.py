"""What a caller wants of the reading of any source."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How a source is read.

    Attributes:
        retry: Attempts to open a camera again after it was gone; 0 for none, None for no limit. A number
            above 0 also holds for the first opening, which otherwise fails at once.
        decoder: One of ``runtime.decoders.path_choice.DECODERS``; None for the best of this machine.
    """

    retry: int | None = None
    decoder: str | None = None
