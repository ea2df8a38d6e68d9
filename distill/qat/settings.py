"""The ``[quantisation]`` table of a recipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgestill.target import QdqTarget


@dataclass(frozen=True, slots=True, kw_only=True)
class QatConfig:
    """Settings of INT8 quantisation-aware training (QAT).

    Attributes:
        family: Engine family, as in ``edgestill export --to``; ``tensorrt`` also covers tensorrt-rtx. Empty
            trains in float.
        calib: ``data.yaml`` whose training split calibrates the initial scales; empty is the first of the
            recipe.
        calib_images: Number of calibration images.
        step_speed: Factor on the learning rate for the logarithm of a scale.
    """

    family: Literal["", QdqTarget] = ""
    calib: str = ""
    calib_images: int = 128
    step_speed: float = 10.0
