"""Projection of street coordinates into the image.

The street has x to the right, y up and z ahead, in metres. The camera has a shifted lens: the horizon may be
at any row, and vertical lines stay vertical.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

NEAR_M = 0.8  # nothing nearer than this is drawn


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """A camera in the street.

    Attributes:
        size_wh: Image width and height, px.
        focal_xy: Focal lengths, px; they differ in an image that was stretched.
        centre_x: Column of the vanishing point of the road, px.
        horizon: Row of the horizon, px; it may lie outside the image.
        eye: Camera position x, y, z, m.
    """

    size_wh: tuple[int, int]
    focal_xy: tuple[float, float]
    centre_x: float
    horizon: float
    eye: tuple[float, float, float]

    def project(self, points: ArrayLike) -> NDArray[np.float64]:
        """Street points ``[N, 3]`` m to image points ``[N, 2]`` px; those behind go to the near plane."""
        p = np.asarray(points, np.float64).reshape(-1, 3)
        z = np.maximum(p[:, 2] - self.eye[2], NEAR_M)
        x = self.centre_x + self.focal_xy[0] * (p[:, 0] - self.eye[0]) / z
        y = self.horizon + self.focal_xy[1] * (self.eye[1] - p[:, 1]) / z
        return np.stack([x, y], 1)

    def at(self, x: float, y: float, z: float) -> tuple[float, float]:
        """One street point in the image, px."""
        px, py = self.project([[x, y, z]])[0]
        return float(px), float(py)

    def scale(self, z: float) -> tuple[float, float]:
        """Pixels a metre across and upright at depth ``z`` (street coordinate)."""
        depth = max(z - self.eye[2], NEAR_M)
        return self.focal_xy[0] / depth, self.focal_xy[1] / depth

    def depth(self, z: float) -> float:
        """Metres ahead of the camera; negative is behind."""
        return z - self.eye[2]

    def sees(self, z: float) -> bool:
        """Whether a point at ``z`` is beyond the near plane."""
        return self.depth(z) > NEAR_M
