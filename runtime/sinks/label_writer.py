"""Label files in YOLO layout, one for each image or frame: detections that can be used as labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgestill.files import write_bytes
from runtime.pipeline import FrameResult
from runtime.sinks.frame_names import frame_path, refuse_full

DIGITS = 6


class LabelSink:
    """Writes rows ``class cx cy w h``, normalised to the image; see ``runtime.pipeline.Sink``.

    The file of ``a/x.jpg`` is ``FOLDER/a/x.txt``; that of a second image of this stem is ``x.png.txt``. An
    image without detections has an empty file.

    Args:
        folder: Absent, empty, or any with ``force``.
        is_numbered: Whether the source is a video or camera, see ``runtime.sinks.frame_names``.
        with_score: Whether a row ends with the score. Label files for training have none.
        force: Whether existing files are replaced.

    Attributes:
        folder: Where the files are.
        written: Number of files written.

    Raises:
        UsageError: The folder is not empty and ``force`` is false.
    """

    needs_overlay = False

    def __init__(self, folder: Path, *, is_numbered: bool, with_score: bool, force: bool) -> None:
        refuse_full(folder, force=force)
        self.folder, self.written = folder, 0
        self._is_numbered, self._with_score = is_numbered, with_score
        self._taken: set[Path] = set()

    def write(self, result: FrameResult, image_bgr: NDArray[np.uint8]) -> bool:
        """Write the file of one image or frame."""
        text = "".join(f"{row}\n" for row in self._rows(result))
        write_bytes(self.folder / self._place(result), text.encode())
        self.written += 1
        return True

    def close(self, *, complete: bool) -> tuple[Path, ...]:
        """No single files: the folder and their number are ``folder`` and ``written``. Each is complete."""
        return ()

    def _place(self, result: FrameResult) -> Path:
        stem = frame_path(result.frame, is_numbered=self._is_numbered)
        place = stem.with_name(f"{stem.name}.txt")
        if self._is_numbered:
            return place  # differs from all others, and a set of them would grow without end
        if place in self._taken:
            place = place.with_name(f"{stem.name}{Path(result.frame.name).suffix}.txt")
        self._taken.add(place)
        return place

    def _rows(self, result: FrameResult) -> list[str]:
        height, width = result.frame.image_bgr.shape[:2]
        found = result.detections
        size = np.array([width, height, width, height], np.float64)
        corners = np.clip(found.xyxy.astype(np.float64) / size, 0, 1)
        sides = np.round(corners[:, 2:] - corners[:, :2], DIGITS)
        centres = (corners[:, 2:] + corners[:, :2]) / 2
        rows = []
        for row in np.flatnonzero((sides > 0).all(axis=1)):  # a box without area is no label
            values = " ".join(f"{v:.{DIGITS}f}" for v in (*centres[row], *sides[row]))
            score = f" {found.score[row]:.4f}" if self._with_score else ""
            rows.append(f"{found.class_id[row]} {values}{score}")
        return rows
