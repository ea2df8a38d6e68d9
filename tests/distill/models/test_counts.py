"""How large the networks are, with every head: the published parameters and floating-point operations."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from distill.models.counts import flops, parameter_count
from distill.models.coupled import Coupled
from distill.models.decoupled import Decoupled
from distill.models.yolov5 import Yolov5, build
from edgestill.spec import COCO_ANCHORS_PX, HeadKind

STRIDES = (8, 16, 32)
ONE_ANCHOR = tuple(level[:1] for level in COCO_ANCHORS_PX)

# A head, whether its levels share, and its anchors a cell.
Kind = tuple[HeadKind, bool, int]
COUPLED: Kind = ("coupled", False, 3)
DECOUPLED: Kind = ("decoupled", False, 3)
SHARED: Kind = ("decoupled", True, 3)
DFL: Kind = ("dfl", False, 1)


def on_meta(size: str, nc: int, kind: Kind) -> Yolov5:
    """A network without values, so that the large ones cost nothing."""
    head, share, per_cell = kind
    with torch.device("meta"):
        return build(
            size, nc, ONE_ANCHOR if per_cell == 1 else COCO_ANCHORS_PX, head=head, share_levels=share
        )


# Size, classes, head, parameters, GFLOPs of the convolutions at 640 x 640.
COUNTS = [
    ("n", 80, COUPLED, 1_872_157, 4.47),
    ("s", 80, COUPLED, 7_235_389, 16.43),
    ("m", 80, COUPLED, 21_190_557, 48.87),
    ("l", 80, COUPLED, 46_563_709, 108.99),
    ("x", 80, COUPLED, 86_749_405, 205.45),
    ("s", 80, DECOUPLED, 8_992_829, 26.53),
    ("s", 80, SHARED, 7_745_343, 26.53),
    ("s", 80, ("decoupled", True, 1), 7_723_413, 26.16),
    ("s", 80, ("decoupled", False, 1), 8_927_039, 26.16),
    ("n", 80, DECOUPLED, 2_279_837, 6.95),
    ("m", 80, DECOUPLED, 25_239_837, 71.72),
    ("l", 80, DECOUPLED, 53_846_909, 149.73),
    ("x", 80, DECOUPLED, 98_208_605, 269.22),
    ("n", 2, DECOUPLED, 2_234_207, 6.69),
    ("s", 2, DECOUPLED, 8_902_271, 26.02),
    ("n", 80, DFL, 2_654_816, 7.72),
    ("s", 80, DFL, 9_153_152, 24.00),
    ("m", 80, DFL, 25_111_456, 64.21),
    ("l", 80, DFL, 53_225_024, 134.99),
    ("x", 80, DFL, 97_276_448, 246.39),
    ("n", 2, DFL, 2_508_854, 7.06),
    ("s", 2, DFL, 9_122_966, 23.83),
    ("m", 2, DFL, 25_066_294, 63.95),
    ("l", 2, DFL, 53_164_886, 134.65),
    ("x", 2, DFL, 97_201_334, 245.97),
]


@pytest.mark.default_cases(
    "n-80-kind0-1872157-4.47",
    "s-80-kind6-7745343-26.53",
    "x-80-kind12-98208605-269.22",
    "s-80-kind7-7723413-26.16",
    "m-80-kind17-25111456-64.21",
    "s-2-kind14-8902271-26.02",
)
@pytest.mark.parametrize(("size", "nc", "kind", "parameters", "gflops"), COUNTS)
def test_a_network_is_as_large_as_published(
    size: str, nc: int, kind: Kind, parameters: int, gflops: float
) -> None:
    model = on_meta(size, nc, kind)

    assert parameter_count(model) == parameters
    # Up to 0.01: the published figure of a dfl head counts the averaging of its bins too.
    assert flops(model, (640, 640)) / 1e9 == pytest.approx(gflops, abs=0.01)


@pytest.mark.parametrize(
    ("size", "nc", "gflops"),
    [
        ("n", 80, 4.49),
        ("s", 80, 16.48),
        ("x", 80, 205.66),
        ("n", 2, 4.16),
        ("s", 2, 15.81),
    ],
)
def test_with_batch_norms_the_work_is_what_yolov5_publishes(size: str, nc: int, gflops: float) -> None:
    assert flops(on_meta(size, nc, COUPLED), (640, 640), norms=True) / 1e9 == pytest.approx(gflops, abs=0.006)


@pytest.mark.parametrize(
    ("head", "parameters"),
    [
        (lambda: Coupled(80, (128, 256, 512), COCO_ANCHORS_PX, STRIDES), 229_245),
        (lambda: Decoupled(80, (128, 256, 512), 128, COCO_ANCHORS_PX, STRIDES), 1_986_685),
        (lambda: Decoupled(80, (128, 256, 512), 128, COCO_ANCHORS_PX, STRIDES, share_levels=True), 739_199),
        (lambda: Decoupled(80, (128, 256, 512), 128, ONE_ANCHOR, STRIDES), 1_920_895),
    ],
    ids=["coupled", "decoupled", "shared", "yolox-s"],
)
def test_a_head_alone_is_as_large_as_on_the_v5_backbone(head: object, parameters: int) -> None:
    assert callable(head)
    with torch.device("meta"):
        assert parameter_count(head()) == parameters


@pytest.mark.default_cases("dfl")
@pytest.mark.parametrize("kind", [SHARED, DFL], ids=["shared", "dfl"])
def test_torch_counts_the_same_work(kind: Kind) -> None:
    model = on_meta("n", 4, kind)
    with FlopCounterMode(display=False) as counter:
        model(torch.empty(1, 3, 64, 96, device="meta"))

    assert flops(model, (64, 96)) == counter.get_total_flops()


def test_counting_leaves_the_network_as_it_was() -> None:
    model = build("n", 2).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    flops(model, (32, 32))

    assert model.training
    assert not any(module._forward_hooks for module in model.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
