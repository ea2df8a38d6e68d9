"""Word to systemd: the service is ready after the first frame, and alive while frames are processed.

Source: https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html (protocol of the datagrams).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from runtime.pipeline import FrameResult

SHARE = 4  # messages in the time after which systemd takes the service for hung
STATUS_EVERY_S = 10.0  # for ``systemctl status``, where systemd watches nothing


class ServiceManager:
    """Sends READY=1, WATCHDOG=1 and STOPPING=1; see ``runtime.pipeline.Sink``.

    A run whose camera sends nothing sends no WATCHDOG=1, so systemd restarts it after ``WatchdogSec``.

    Args:
        address: Value of ``NOTIFY_SOCKET``: a path, or a name that starts with ``@``.
        watchdog_s: Time without a message after which systemd restarts the service; None if it does not.
        clock: Monotonic seconds.
    """

    needs_overlay = False

    def __init__(
        self, address: str, *, watchdog_s: float | None, clock: Callable[[], float] = perf_counter
    ) -> None:
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._every_s = STATUS_EVERY_S if watchdog_s is None else watchdog_s / SHARE
        self._has_watchdog = watchdog_s is not None
        self._clock = clock
        self._frames = 0
        self._sent_s: float | None = None

    def write(self, result: FrameResult, image_bgr: NDArray[np.uint8]) -> bool:
        """Tell of the first frame, and from then on at most ``SHARE`` times in the time of the watchdog."""
        self._frames += 1
        now_s = self._clock()
        if self._sent_s is None or now_s - self._sent_s >= self._every_s:
            lines = ["READY=1"] if self._sent_s is None else []
            lines += ["WATCHDOG=1"] if self._has_watchdog else []
            self._send([*lines, f"STATUS={self._frames} frames"])
            self._sent_s = now_s
        return True

    def close(self, *, complete: bool) -> tuple[Path, ...]:
        """Tell that the service ends; no files."""
        self._send(["STOPPING=1"])
        return ()

    def _send(self, lines: list[str]) -> None:
        # A manager that is gone is no error of the service, and one that does not read must not hold it up.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
            sending.setblocking(False)
            sending.sendto("\n".join(lines).encode(), self._address)


def service_manager(environment: Mapping[str, str] | None = None) -> ServiceManager | None:
    """The sink for the systemd that started this process; None if none asked for messages.

    Args:
        environment: Environment variables; None for those of the process.
    """
    variables = os.environ if environment is None else environment
    address = variables.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return None
    interval_us = variables.get("WATCHDOG_USEC", "")
    is_ours = variables.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    watched = is_ours and interval_us.isdecimal() and int(interval_us) > 0
    return ServiceManager(address, watchdog_s=int(interval_us) / 1e6 if watched else None)
