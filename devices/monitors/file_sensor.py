"""Sensors whose channels are files of Linux, each with one number.

The files stay open, because opening costs more than reading: reading a file of sysfs again at its beginning
gives the new value.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from devices.monitors.sensor import Channel, PowerMeter, SensorLostError

_LONGEST = 64  # bytes of a number with its unit


class Value(Protocol):
    """A number that can be read again."""

    def read(self) -> float:
        """The number.

        Raises:
            OSError: It cannot be read.
            ValueError: There is no number.
        """

    def close(self) -> None:
        """Close the files."""


class ValueFile:
    """The number at the beginning of a file, times ``scale``.

    Raises:
        OSError: The file cannot be opened.
    """

    def __init__(self, path: Path, scale: float = 1.0) -> None:
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._scale = scale

    def read(self) -> float:
        """The number now."""
        words = os.pread(self._file, _LONGEST, 0).split()
        if not words:
            raise ValueError("the file is empty")
        return int(words[0]) * self._scale

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


class ProductOf:
    """The product of two values, as power is of voltage and current."""

    def __init__(self, first: Value, second: Value) -> None:
        self._both = first, second

    def read(self) -> float:
        """The product now."""
        return self._both[0].read() * self._both[1].read()

    def close(self) -> None:
        """Close both."""
        for value in self._both:
            value.close()


class MaximumOf:
    """The largest of some values; those that cannot be read do not count."""

    def __init__(self, values: Sequence[Value]) -> None:
        self._values = tuple(values)

    def read(self) -> float:
        """The largest now."""
        found = [value for value in (_or_nan(one)[0] for one in self._values) if not math.isnan(value)]
        if not found:
            raise ValueError("none of its files has a number")
        return max(found)

    def close(self) -> None:
        """Close all."""
        for value in self._values:
            value.close()


class FileSensor:
    """Channels with a value each.

    Args:
        name: Name in results.
        values: The channels and their values, at least one.
        meter: The power meter among them.
    """

    def __init__(
        self, name: str, values: Sequence[tuple[Channel, Value]], meter: PowerMeter | None = None
    ) -> None:
        self.name, self.meter = name, meter
        self.channels = tuple(channel for channel, _ in values)
        self._values = tuple(value for _, value in values)

    def read(self) -> Sequence[float]:
        """One number for each channel, NaN where there is none now.

        Raises:
            SensorLostError: None of the files can be read.
        """
        found = [_or_nan(value) for value in self._values]
        if all(math.isnan(number) for number, _ in found):
            raise SensorLostError(found[0][1])
        return [number for number, _ in found]

    def close(self) -> None:
        """Close all files."""
        for value in self._values:
            value.close()


def _or_nan(value: Value) -> tuple[float, str]:
    """The number and an empty text, or NaN and the reason."""
    try:
        return value.read(), ""
    except OSError as error:
        return math.nan, error.strerror or str(error)
    except ValueError as error:
        return math.nan, str(error)
