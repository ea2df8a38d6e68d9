"""What was found is only compared where all looked at the same."""

from collections.abc import Callable
from dataclasses import replace

from distill.study.scoring import SplitDetections, same_images
from runtime.metrics.coco import Truth


def test_other_images_or_labels_are_noticed(
    make_truths: Callable[..., list[Truth]], make_detections: Callable[..., SplitDetections]
) -> None:
    truths = make_truths(4)
    one, other = make_detections(truths, 0.5, seed=0), make_detections(truths, 0.9, seed=1)
    assert same_images([one, other])
    assert not same_images([one, replace(other, images=("a", "b", "c", "d"))])
    assert not same_images([one, replace(other, truths=make_truths(4, seed=9))])
