"""A planned scene: everything random is chosen, nothing is painted yet."""

from __future__ import annotations

from dataclasses import dataclass

from distill.datasets.synth.canvas import Canvas
from distill.datasets.synth.mood import Mood
from distill.datasets.synth.objects.road import Road
from distill.datasets.synth.objects.sky import Sky
from distill.datasets.synth.objects.thing import Thing
from distill.datasets.synth.view import Camera


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A street at one moment, seen by one camera.

    Attributes:
        mood: The light.
        view: The camera.
        sky: Behind everything.
        road: The ground, or None where a wall hides it.
        things: Whatever stands there, in any order.
    """

    mood: Mood
    view: Camera
    sky: Sky
    road: Road | None
    things: tuple[Thing, ...]

    def draw(self, canvas: Canvas) -> None:
        """Paint from far to near, then add the light of the lamps."""
        self.sky.draw(canvas, self.view, self.mood)
        if self.road is not None:
            self.road.draw(canvas, self.view, self.mood)
        for thing in sorted(self.things, key=lambda t: -t.z):
            thing.draw(canvas, self.view, self.mood)
        canvas.shine(self.mood.wet)
