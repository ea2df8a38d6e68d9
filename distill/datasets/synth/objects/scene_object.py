"""The interface of the objects in a street."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from distill.datasets.synth.camera import Camera
from distill.datasets.synth.canvas import Canvas
from distill.datasets.synth.lighting import Lighting


class SceneObject(Protocol):
    """One object of a scene. All random choices are made before it is drawn.

    Attributes:
        z: Street coordinate of its front, m; objects are drawn from far to near.
    """

    @property
    def z(self) -> float:
        """Depth in the street, m."""

    def draw(self, canvas: Canvas, camera: Camera, lighting: Lighting) -> None:
        """Paint its projection by ``camera``."""


@dataclass(frozen=True, slots=True)
class Shifted:
    """An object moved along the street.

    Attributes:
        item: The object.
        by: Distance, m.
    """

    item: SceneObject
    by: float

    @property
    def z(self) -> float:
        """Depth in the street, m."""
        return self.item.z + self.by

    def draw(self, canvas: Canvas, camera: Camera, lighting: Lighting) -> None:
        """Paint the object with the camera moved back by the distance."""
        x, y, z = camera.eye
        self.item.draw(canvas, replace(camera, eye=(x, y, z - self.by)), lighting)
