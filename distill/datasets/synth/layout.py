"""The layout of a scene: all random choices are made, nothing is painted yet."""

from __future__ import annotations

from dataclasses import dataclass

from distill.datasets.synth.camera import Camera
from distill.datasets.synth.canvas import Canvas
from distill.datasets.synth.lighting import Lighting
from distill.datasets.synth.objects.road import Road
from distill.datasets.synth.objects.scene_object import SceneObject
from distill.datasets.synth.objects.sky import Sky


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneLayout:
    """A street at one moment and the camera that records it.

    Attributes:
        lighting: Time of day and weather.
        camera: The camera.
        sky: The background.
        road: The ground, or None where a wall hides it.
        objects: All other objects, in any order.
    """

    lighting: Lighting
    camera: Camera
    sky: Sky
    road: Road | None
    objects: tuple[SceneObject, ...]

    def draw(self, canvas: Canvas) -> None:
        """Paint from far to near, then add the bloom of the lamps."""
        self.sky.draw(canvas, self.camera, self.lighting)
        if self.road is not None:
            self.road.draw(canvas, self.camera, self.lighting)
        for item in sorted(self.objects, key=lambda t: -t.z):
            item.draw(canvas, self.camera, self.lighting)
        canvas.add_bloom(self.lighting.wet)
