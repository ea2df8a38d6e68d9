"""Opening a camera that may not be there: how often, and how long apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import sleep

from edgestill.errors import DeviceError
from edgestill.progress import say
from runtime.decoders.reader import Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class BackOff:
    """Waiting times that double.

    Attributes:
        first_s: Before the first attempt, seconds.
        most_s: The longest, seconds: short, as a camera that is back should not be waited for.
    """

    first_s: float = 0.25
    most_s: float = 2.0

    def seconds(self, attempts: int) -> float:
        """Seconds to wait after so many attempts."""
        return min(self.first_s * 2.0 ** min(attempts, 30), self.most_s)


BACK_OFF = BackOff()


def open_first(connect: Callable[[], Reader], name: str, retry: int, back_off: BackOff) -> Reader:
    """Open a camera for the first time.

    Args:
        connect: Opens it, or raises DeviceError.
        name: Its name for the message.
        retry: Attempts after the first one.
        back_off: Waiting times before them.

    Raises:
        DeviceError: Of the last attempt.
    """
    for attempt in range(retry):
        try:
            return connect()
        except DeviceError as error:  # noqa: PERF203 (waits, anyway)
            if attempt == 0:
                say(f"{error.what}; trying {retry} more times")
            sleep(back_off.seconds(attempt))
    return connect()
