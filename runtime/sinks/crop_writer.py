"""One image file for each detection, in a folder for each class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgestill.files import safe_file_name, write_bytes
from runtime.pipeline import FrameResult
from runtime.sinks.frame_names import frame_path, refuse_full

JPEG_QUALITY = 95


class CropSink:
    """Writes ``FOLDER/CLASS/NAME_FRAME_INDEX.jpg``; see ``runtime.pipeline.Sink``.

    Crops are cut from the frame itself, without boxes and labels. A class whose name cannot be that of a
    folder has a similar one of its own.

    Args:
        folder: Absent, empty, or any with ``force``.
        classes: Class names of the model.
        force: Whether existing files are replaced.

    Attributes:
        folder: Where the crops are.
        written: Number of files written.

    Raises:
        UsageError: The folder is not empty and ``force`` is false.
    """

    needs_overlay = False

    def __init__(self, folder: Path, classes: Sequence[str], *, force: bool) -> None:
        refuse_full(folder, force=force)
        self.folder, self.written = folder, 0
        self._folders = class_folders(classes)

    def write(self, result: FrameResult, image_bgr: NDArray[np.uint8]) -> bool:
        """Write the crop of each detection."""
        frame = result.frame.image_bgr
        name = safe_file_name("_".join(frame_path(result.frame, is_numbered=False).parts))
        for row, (box, class_id) in enumerate(
            zip(result.detections.xyxy, result.detections.class_id, strict=True)
        ):
            x0, y0, x1, y1 = _pixels(box, (frame.shape[0], frame.shape[1]))
            done, data = cv2.imencode(".jpg", frame[y0:y1, x0:x1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
            if not done:
                raise ValueError("OpenCV cannot encode a crop")
            file = f"{name}_{result.frame.index:06d}_{row}.jpg"
            write_bytes(self.folder / self._folders[class_id] / file, data.tobytes())
            self.written += 1
        return True

    def close(self, *, complete: bool) -> tuple[Path, ...]:
        """No single files: the folder and their number are ``folder`` and ``written``. Each is complete."""
        return ()


def class_folders(classes: Sequence[str]) -> tuple[str, ...]:
    """The name of a folder for each class; no two are the same, also where case does not count."""
    names = [safe_file_name(name) for name in classes]
    taken = [name.casefold() for name in names]
    return tuple(f"{name}-{k}" if taken.count(name.casefold()) > 1 else name for k, name in enumerate(names))


def _pixels(box: NDArray[np.float32], hw: tuple[int, int]) -> tuple[int, int, int, int]:
    """The whole pixels that a box touches, at least one, inside an image of that height and width."""
    height, width = hw
    x0, y0 = (
        int(np.clip(np.floor(v), 0, side - 1)) for v, side in zip(box[:2], (width, height), strict=True)
    )
    x1, y1 = (int(np.clip(np.ceil(v), 1, side)) for v, side in zip(box[2:], (width, height), strict=True))
    return x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)
