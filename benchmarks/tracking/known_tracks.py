"""True boxes with identities and states of a clip, at any frame rate."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgestill.errors import DataError

AT_A_FRAME = 1e-6  # frames: a time this close to a frame is the time of that frame


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrueFrame:
    """What is to be seen in one frame.

    Attributes:
        index: Of the frame of the clip that is shown at this time.
        time_s: Time in the clip, seconds.
        xyxy: Corners, px; float32 ``[N, 4]``.
        state: Index into ``Clip.names``; int64 ``[N]``.
        identity: The same for one object in all frames; int64 ``[N]``.
    """

    index: int
    time_s: float
    xyxy: NDArray[np.float32]
    state: NDArray[np.int64]
    identity: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Clip:
    """A clip with its truth.

    Attributes:
        name: File name of the video.
        fps: Frames per second.
        names: Names of the states.
        size_wh: Width and height, px.
        frames: One for each frame.
    """

    name: str
    fps: float
    names: tuple[str, ...]
    size_wh: tuple[int, int]
    frames: tuple[TrueFrame, ...]

    def at_rate(self, fps: float) -> Clip:
        """The clip at another frame rate.

        At a lower one frames are left out, and those that stay keep their times. At a higher one the boxes
        of objects that two neighbouring frames have in common are interpolated between them.
        """
        last = len(self.frames) - 1
        count = int(last * fps / self.fps + AT_A_FRAME) + 1
        places = [i * self.fps / fps for i in range(count)]
        if fps > self.fps:
            frames = [self._between(place) for place in places]
        else:
            frames = [self.frames[int(place + AT_A_FRAME)] for place in places]
        return replace(self, fps=fps, frames=tuple(frames))

    def _between(self, place: float) -> TrueFrame:
        before = self.frames[int(place + AT_A_FRAME)]
        share = place - before.index
        if share < AT_A_FRAME:
            return before
        after = self.frames[before.index + 1]
        stay = np.isin(before.identity, after.identity)
        later = [int(np.flatnonzero(after.identity == i)[0]) for i in before.identity[stay]]
        xyxy = (1 - share) * before.xyxy[stay] + share * after.xyxy[later]
        return TrueFrame(
            index=before.index,
            time_s=place / self.fps,
            xyxy=np.asarray(xyxy, np.float32),
            state=before.state[stay],
            identity=before.identity[stay],
        )


def read_clip(path: Path) -> Clip:
    """Read the truth of a clip, as ``edgestill data clip`` writes it beside the video.

    Args:
        path: JSON with ``video``, ``width``, ``height``, ``names``, ``fps``, and for each frame ``frames``
            (rows of state, x0, y0, x1, y1) and ``ids``.

    Raises:
        DataError: The file cannot be read, or something is missing in it.
    """
    try:
        truth = json.loads(path.read_text("utf-8"))
        return Clip(
            name=truth["video"],
            fps=float(truth["fps"]),
            names=tuple(truth["names"]),
            size_wh=(int(truth["width"]), int(truth["height"])),
            frames=tuple(_frames(truth)),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} holds no true tracks of a clip: {type(error).__name__} {error}",
            hint="edgestill data clip --out drive.mp4 writes such a file as drive.gt.json",
        ) from error


def _frames(truth: dict[str, Any]) -> Iterator[TrueFrame]:
    for number in range(len(truth["frames"])):
        rows = np.array(truth["frames"][str(number)], np.float64).reshape(-1, 5)
        identity = np.array(truth["ids"][str(number)], np.int64)
        if len(identity) != len(rows):
            raise ValueError(f"frame {number} has {len(rows)} boxes and {len(identity)} ids")
        yield TrueFrame(
            index=number,
            time_s=number / float(truth["fps"]),
            xyxy=rows[:, 1:].astype(np.float32),
            state=rows[:, 0].astype(np.int64),
            identity=identity,
        )
