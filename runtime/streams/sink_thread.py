"""Drawing and writing in a thread: the next frames are decoded and detected meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from queue import Queue
from threading import Thread

import numpy as np
from numpy.typing import NDArray

from runtime.stopwatch import Stopwatch
from runtime.streams.results import FrameResult, Overlay, Sink

WAITING = 2  # results that wait; more would only take memory


class SinkThread:
    """Gives results to sinks in their order. If the sinks are slow, ``put`` waits; no result is left out.

    Args:
        sinks: The sinks. They are only used by the thread, and by ``close`` once it has ended.
        overlay: Draws the annotated frame where a sink needs it; None for the frame itself.
        name: Name of the thread.
        timed: Called in the thread, with the milliseconds of ``draw`` and ``save`` of each frame.
    """

    def __init__(
        self,
        sinks: Sequence[Sink],
        overlay: Overlay | None,
        *,
        name: str,
        timed: Callable[[Mapping[str, float]], None],
    ) -> None:
        self._sinks = tuple(sinks)
        self._overlay = overlay if any(sink.needs_overlay for sink in sinks) else None
        self._name, self._timed = name, timed
        self._waiting: Queue[tuple[FrameResult, NDArray[np.uint8] | None] | None] = Queue(WAITING)
        self._thread: Thread | None = None
        self._error: BaseException | None = None
        self._has_failed = False
        self._goes_on = True

    def put(self, result: FrameResult, drawn_bgr: NDArray[np.uint8] | None = None) -> bool:
        """Hand over one result.

        Args:
            result: The result.
            drawn_bgr: The annotated frame, uint8 ``[H, W, 3]``, if it was drawn already.

        Returns:
            Whether to continue; False once a sink ended the run.

        Raises:
            Exception: What a sink raised at an earlier result.
        """
        self._raise_error()
        if not self._sinks:
            return True
        if self._thread is None:
            self._thread = Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        self._waiting.put((result, drawn_bgr))
        return self._goes_on

    def drain(self) -> None:
        """Wait until all results are written, and raise what a sink raised; no result may follow."""
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join()
            self._thread = None
        self._raise_error()

    def close(self, *, complete: bool) -> tuple[list[Path], Exception | None]:
        """Close all sinks, also after an error; the files, and the first error of closing.

        Args:
            complete: See ``runtime.streams.results.Sink.close``; False if ``drain`` raised.
        """
        return close_all(self._sinks, complete=complete)

    def _raise_error(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _run(self) -> None:
        while (item := self._waiting.get()) is not None:
            if not self._has_failed:  # after it, what waits is only taken, so that ``put`` does not hang
                try:
                    self._write(*item)
                except BaseException as error:  # raised by the next ``put`` or ``drain``
                    self._error, self._has_failed = error, True
            del item  # a large image, while the thread waits

    def _write(self, result: FrameResult, drawn_bgr: NDArray[np.uint8] | None) -> None:
        watch = Stopwatch()
        if drawn_bgr is None and self._overlay is not None:
            with watch.stage("draw"):
                drawn_bgr = self._overlay(result)
        image_bgr = result.frame.image_bgr if drawn_bgr is None else drawn_bgr
        with watch.stage("save"):
            continues = [sink.write(result, image_bgr) for sink in self._sinks]
        self._goes_on = self._goes_on and all(continues)
        self._timed(watch.stages_ms)


def close_all(sinks: Sequence[Sink], *, complete: bool) -> tuple[list[Path], Exception | None]:
    """Close all sinks, also if one fails, as the others hold files too; the files and the first error."""
    files: list[Path] = []
    errors: list[Exception] = []

    def close(sink: Sink) -> None:
        try:
            files.extend(sink.close(complete=complete))
        except Exception as error:  # raised by the caller, unless another error ended the run
            errors.append(error)

    for sink in sinks:
        close(sink)
    return files, next(iter(errors), None)
