"""``Detections``: the type that decoding, tracking, metrics and drawing exchange."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """The objects found in one frame, highest score first.

    Attributes:
        xyxy: Corners x0, y0, x1, y1 in pixels of the source frame, origin top left; float32 ``[N, 4]``.
        score: Confidence in [0, 1]; float32 ``[N]``.
        class_id: Index into ``ModelSpec.classes``; int64 ``[N]``.
    """

    xyxy: NDArray[np.float32]
    score: NDArray[np.float32]
    class_id: NDArray[np.int64]

    def __post_init__(self) -> None:
        n = len(self.xyxy)
        for name, shape in {"xyxy": (n, 4), "score": (n,), "class_id": (n,)}.items():
            got = getattr(self, name).shape
            if got != shape:
                raise ValueError(f"Detections.{name} has shape {got}, expected {shape}")

    def __len__(self) -> int:
        return len(self.xyxy)

    @classmethod
    def empty(cls) -> Detections:
        """No detections."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))

    def where(self, keep: NDArray[np.bool_] | NDArray[np.int64]) -> Detections:
        """The detections that a boolean mask ``[N]`` or an index array selects, in its order."""
        return Detections(self.xyxy[keep], self.score[keep], self.class_id[keep])
