"""MixUp: two samples blended into one.

    image = weight * first + (1 - weight) * second,  weight from Beta(alpha, alpha)

The paper is about classifiers, and mixes their targets by the same weight. The target of a detector is a set
of boxes: the blend has the boxes of both samples, each with its full weight, as in YOLOv5, YOLOX and RTMDet.
So a weight near 0 or 1 labels objects that can hardly be seen. A large ``alpha`` avoids that: the standard
deviation of the weight is 1 / (2 * sqrt(2 * alpha + 1)).

Source: Zhang et al., mixup: Beyond Empirical Risk Minimization, ICLR 2018, https://arxiv.org/abs/1710.09412,
equation 1; ``alpha`` = 32 is YOLOv5's (utils/augmentations.py). YOLOX and RTMDet have a weight of 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from distill.data.sample import Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class MixUp:
    """The ``[augment.mixup]`` table.

    Attributes:
        share: Probability that a sample is blended with another one, from 0 to 1.
        alpha: Both parameters of the beta distribution of the weight, above 0.
    """

    share: float = 0.0
    alpha: float = 32.0


def blend(first: Sample, second: Sample, weight: float) -> Sample:
    """Two samples of one size as one, with the objects of both.

    Args:
        first: Its image has ``weight``.
        second: Its image has 1 - ``weight``.
        weight: In [0, 1].
    """
    image = cv2.addWeighted(first.image_bgr, weight, second.image_bgr, 1 - weight, 0)
    return Sample(
        np.asarray(image, np.uint8),
        np.concatenate((first.class_id, second.class_id)),
        np.concatenate((first.xyxy, second.xyxy)),
    )
