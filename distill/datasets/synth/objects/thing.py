"""What stands in the street, and what moves in it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from distill.datasets.synth.canvas import Canvas
from distill.datasets.synth.mood import Mood
from distill.datasets.synth.view import Camera


class Thing(Protocol):
    """One thing of a scene. All that is random about it was chosen when it was planned.

    Attributes:
        z: Street coordinate of its front, m; things are drawn from far to near.
    """

    @property
    def z(self) -> float:
        """Depth in the street, m."""

    def draw(self, canvas: Canvas, view: Camera, mood: Mood) -> None:
        """Paint it where ``view`` shows it."""


@dataclass(frozen=True, slots=True)
class Shifted:
    """A thing further down the street than it was planned.

    Attributes:
        thing: The thing.
        by: How much further, m.
    """

    thing: Thing
    by: float

    @property
    def z(self) -> float:
        """Depth in the street, m."""
        return self.thing.z + self.by

    def draw(self, canvas: Canvas, view: Camera, mood: Mood) -> None:
        """Paint it as seen from as much nearer to the start."""
        x, y, z = view.eye
        self.thing.draw(canvas, replace(view, eye=(x, y, z - self.by)), mood)
