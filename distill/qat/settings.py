"""What a recipe says about training with rounding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgestill.target import QdqTarget


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantisation:
    """The student computes with numbers that are rounded as an engine will round them.

    Attributes:
        family: The engines, in the words of ``edgestill export --to``; tensorrt-rtx is ``tensorrt``'s.
            Empty trains without rounding.
        calib: The ``data.yaml`` whose training split the first scales come from; empty is the recipe's first.
        calib_images: How many of its images.
        step_speed: How much faster a scale learns than a weight: of the learning rate, the factor on the
            change of its logarithm.
    """

    family: Literal["", QdqTarget] = ""
    calib: str = ""
    calib_images: int = 128
    step_speed: float = 10.0
