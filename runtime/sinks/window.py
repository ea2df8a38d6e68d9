"""A window with the annotated frames of each source; q, Esc or a close button ends the run."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgestill.errors import DeviceError
from runtime.pipeline import FrameResult

TITLE = "edgestill"
QUIT_KEYS = frozenset({ord("q"), 27})


class WindowSink:
    """Displays each annotated frame; see ``runtime.pipeline.Sink``.

    Args:
        sources: Names of the sources. Each of several has a window of its own.

    Raises:
        DeviceError: There is no display, or this OpenCV has no window system.
    """

    needs_overlay = True

    def __init__(self, sources: Sequence[str] = ()) -> None:
        if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            # Without a display Qt aborts the whole process.
            raise DeviceError(
                "--show needs a display, and DISPLAY and WAYLAND_DISPLAY are not set",
                hint="use --save out.mp4, or connect with ssh -X",
            )
        self._titles = {name: f"{TITLE} {name}" for name in sources} if len(sources) > 1 else {}
        try:
            for title in self._titles.values() or (TITLE,):
                cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
        except cv2.error as error:
            raise DeviceError("this OpenCV cannot open windows", hint="use --save out.mp4") from error

    def write(self, result: FrameResult, image_bgr: NDArray[np.uint8]) -> bool:
        """Display one frame; False once its window is closed."""
        title = self._titles.get(result.source, TITLE)
        cv2.imshow(title, image_bgr)
        key = cv2.waitKey(1) & 0xFF
        return key not in QUIT_KEYS and cv2.getWindowProperty(title, cv2.WND_PROP_VISIBLE) >= 1

    def close(self, *, complete: bool) -> tuple[Path, ...]:
        """Close the window."""
        cv2.destroyAllWindows()
        return ()
