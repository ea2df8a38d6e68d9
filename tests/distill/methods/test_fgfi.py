"""Fine-grained imitation: masks of the reference, every scope, and an adapter that is computed in places."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from distill.method import NetworkOutputs, StudentTeacherInfo
from distill.methods import fgfi
from edgestill.spec import COCO_ANCHORS_PX

MakeView = Callable[..., NetworkOutputs]
MakePair = Callable[..., StudentTeacherInfo]
STRIDES = (8, 16, 32)
GRIDS = [(8, 12), (4, 6), (2, 3)]  # of the shared pairs and views
NO_TARGETS = torch.zeros(0, 6)


def value(
    of: tuple[NetworkOutputs, NetworkOutputs],
    pair: StudentTeacherInfo,
    targets: Tensor,
    *,
    adapter: str = "identity",
    **settings: Any,
) -> Tensor:
    loss = fgfi.Loss(fgfi.Config(adapter=adapter, **settings), pair)  # type: ignore[arg-type]
    return loss(*of, targets)["imitation"]


@pytest.fixture
def sides(make_view: MakeView) -> tuple[NetworkOutputs, NetworkOutputs]:
    return make_view("coupled", 0), make_view("coupled", 1)


# --- masks


def masks(
    boxes: list[tuple[float, float, float, float]],
    anchors: list[tuple[float, float]],
    *,
    psi: float = 0.5,
    grid: tuple[int, int] = (4, 4),
) -> Tensor:
    """The mask of one level of stride 8 for boxes in pixels."""
    height, width = (8 * side for side in grid)
    rows = [
        [0, 0, (a + c) / 2 / width, (b + d) / 2 / height, (c - a) / width, (d - b) / height]
        for a, b, c, d in boxes
    ]
    targets = torch.tensor(rows, dtype=torch.float32).view(-1, 6)
    (mask,) = fgfi.imitation_masks(targets, 1, [grid], [anchors], [8], psi=psi)
    return mask[0]


def cells(mask: Tensor) -> set[tuple[int, int]]:
    return {(int(y), int(x)) for y, x in mask.nonzero()}


MIDDLE = set(product((1, 2), (1, 2)))


@pytest.mark.parametrize(
    ("boxes", "anchors", "wanted"),
    [
        pytest.param([(8, 8, 24, 24)], [(16, 16)], MIDDLE, id="one-anchor"),
        pytest.param([(8, 8, 24, 24)], [(16, 16), (32, 8)], set(product((1, 2), range(4))), id="two-anchors"),
        pytest.param(
            [(0, 0, 8, 8), (16, 16, 32, 32)],
            [(8, 8), (16, 16)],
            {(0, 0)} | set(product((2, 3), (2, 3))),
            id="two-boxes",
        ),
        pytest.param([(12, 12, 20, 20)], [(8, 8)], MIDDLE, id="tie"),
    ],
)
def test_the_cells_are_those_of_the_reference(
    boxes: list[tuple[float, float, float, float]], anchors: list[tuple[float, float]], wanted: set[Any]
) -> None:
    assert cells(masks(boxes, anchors)) == wanted


@pytest.mark.parametrize(("psi", "count"), [(0, 16), (0.25, 12), (0.5, 4), (0.75, 4), (0.99, 4), (1.0, 0)])
def test_a_higher_psi_leaves_fewer_cells(psi: float, count: int) -> None:
    assert int(masks([(8, 8, 24, 24)], [(16, 16)], psi=psi).sum()) == count


def test_masks_are_not_transposed() -> None:
    x, y, w, h = 10 * 8, 40 * 8, 6 * 8, 10 * 8
    box = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
    lit = masks([box], [(w, h)], grid=(80, 80)).nonzero().float()
    assert lit.mean(0).tolist() == pytest.approx([39.5, 9.5])  # rows first; cells count from their corner


def test_masks_do_not_depend_on_the_order_or_number_of_equal_boxes() -> None:
    one, two = (0.0, 0.0, 8.0, 8.0), (16.0, 16.0, 32.0, 32.0)
    anchors = [(8.0, 8.0), (16.0, 16.0)]
    assert torch.equal(masks([one, two], anchors), masks([two, one, two], anchors))


def boxes_px(*boxes: tuple[float, float, float, float]) -> Tensor:
    """Boxes in the first image of 96 x 64 pixels."""
    size = torch.tensor([96.0, 64, 96, 64])
    corners = torch.tensor(boxes)
    centred = torch.cat(((corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]), 1) / size
    return torch.cat((torch.zeros(len(boxes), 2), centred), 1)


SMALL = (34.0, 26.0, 46.0, 39.0)  # like the finest anchor, 10 x 13
SCOPES = ("global", "assigned", "level")


def by_level(targets: Tensor, **settings: Any) -> list[int]:
    masks = fgfi.imitation_masks(targets, 1, GRIDS, COCO_ANCHORS_PX, STRIDES, **{"psi": 0.5, **settings})
    return [int(mask.sum()) for mask in masks]


def test_a_small_box_is_imitated_on_the_fine_level_alone() -> None:
    p3, p4, p5 = by_level(boxes_px(SMALL))
    assert p3 > 0
    assert p4 == p5 == 0


def test_a_box_counts_on_the_levels_that_answer_for_it() -> None:
    # 12 x 13 is within a factor of 4 of anchors of p3 and, by 30 x 61 and wider, of none of the others.
    p3, p4, p5 = by_level(boxes_px(SMALL), scope="assigned")
    assert p3 > 0
    assert p4 == p5 == 0
    middle = boxes_px((32, 20, 56, 44))  # 24 x 24 is beyond that of the coarse 116 x 90
    p3, p4, p5 = by_level(middle, scope="assigned")
    assert p3 > 0
    assert p4 > 0
    assert p5 == 0
    assert by_level(middle, scope="assigned", anchor_t=8.0)[2] > 0


def test_in_scope_level_a_box_counts_on_every_level() -> None:
    assert all(count > 0 for count in by_level(boxes_px(SMALL), scope="level"))


def test_with_one_level_all_scopes_are_the_papers() -> None:
    target = boxes_px((24, 12, 64, 52))
    first, *others = (
        fgfi.imitation_masks(target, 1, GRIDS[:1], COCO_ANCHORS_PX[:1], STRIDES[:1], psi=0.5, scope=scope)
        for scope in SCOPES
    )
    assert first[0].any()
    assert all(torch.equal(first[0], other[0]) for other in others)


@pytest.mark.parametrize("scope", SCOPES)
def test_masks_of_many_boxes_are_those_of_each(scope: Any) -> None:
    random = torch.Generator().manual_seed(0)
    side = 0.4 * torch.rand(300, 2, generator=random) + 0.02
    image = torch.randint(0, 3, (300, 1), generator=random).float()
    targets = torch.cat((image, 0 * image, torch.rand(300, 2, generator=random), side), 1)
    together, *each = (
        fgfi.imitation_masks(t, 3, GRIDS, COCO_ANCHORS_PX, STRIDES, psi=0.5, scope=scope)
        for t in (targets, *targets[:, None])
    )
    for level, mask in enumerate(together):
        assert torch.equal(mask, torch.stack([one[level] for one in each]).any(0))


# --- the term


def test_it_costs_nothing_without_objects(
    sides: tuple[NetworkOutputs, NetworkOutputs], make_pair: MakePair
) -> None:
    loss = fgfi.Loss(fgfi.Config(), make_pair())
    term = loss(*sides, NO_TARGETS)["imitation"]
    term.backward()
    assert float(term.detach()) == 0.0
    assert not any(maps.grad.any() for maps in sides[0].features.values())
    assert not any(p.grad.any() for p in loss.parameters())


def test_an_image_without_objects_changes_nothing(
    sides: tuple[NetworkOutputs, NetworkOutputs], make_pair: MakePair, targets: Tensor
) -> None:
    first = tuple(NetworkOutputs({k: v[:1] for k, v in of.features.items()}, of.raw) for of in sides)
    torch.testing.assert_close(
        value(sides, make_pair(), targets[:1]),
        value(first, make_pair(), targets[:1]),  # type: ignore[arg-type]
    )


def test_it_grows_with_the_square_of_the_difference(
    sides: tuple[NetworkOutputs, NetworkOutputs], make_pair: MakePair, targets: Tensor
) -> None:
    teacher = sides[1]
    near, far = (
        NetworkOutputs({k: v + scale for k, v in teacher.features.items()}, teacher.raw)
        for scale in (0.5, 1.5)
    )
    torch.testing.assert_close(
        value((far, teacher), make_pair(), targets),
        9 * value((near, teacher), make_pair(), targets),
        rtol=1e-4,
        atol=0,
    )


@pytest.mark.parametrize(("reduction", "factor"), [("paper", 2), ("channel_mean", 1)])
def test_it_sums_over_channels_only_in_the_papers_reduction(
    reduction: Any,
    factor: int,
    sides: tuple[NetworkOutputs, NetworkOutputs],
    make_pair: MakePair,
    targets: Tensor,
) -> None:
    wide = tuple(
        NetworkOutputs({k: torch.cat((v, v), 1) for k, v in of.features.items()}, of.raw) for of in sides
    )
    torch.testing.assert_close(
        value(wide, make_pair("coupled", 12, 12), targets, reduction=reduction),  # type: ignore[arg-type]
        factor * value(sides, make_pair(), targets, reduction=reduction),
    )


@pytest.mark.parametrize("scope", SCOPES)
def test_it_does_not_look_outside_of_its_mask(
    scope: Any, sides: tuple[NetworkOutputs, NetworkOutputs], make_pair: MakePair, targets: Tensor
) -> None:
    near = fgfi.imitation_masks(targets, 2, GRIDS, COCO_ANCHORS_PX, STRIDES, psi=0.5, scope=scope)
    student, teacher = sides
    moved = NetworkOutputs(
        {k: v + 7 * ~mask[:, None] for (k, v), mask in zip(student.features.items(), near, strict=True)}, []
    )
    torch.testing.assert_close(
        value((moved, teacher), make_pair(), targets, scope=scope),
        value(sides, make_pair(), targets, scope=scope),
    )


@pytest.mark.parametrize("combine", ["mean", "pooled"])
def test_levels_are_averaged_or_their_cells_pooled(
    combine: Any, sides: tuple[NetworkOutputs, NetworkOutputs], make_pair: MakePair, targets: Tensor
) -> None:
    target = targets[[0]]  # no cell of the coarse level counts
    masks = fgfi.imitation_masks(target, 2, GRIDS, COCO_ANCHORS_PX, STRIDES, psi=0.5)
    counts = [int(mask.sum()) for mask in masks]
    assert counts[0] > 0
    assert counts[2] == 0
    sums = [
        ((s - t).square().sum(1) * mask).sum()
        for s, t, mask in zip(sides[0].features.values(), sides[1].features.values(), masks, strict=True)
    ]
    if combine == "pooled":
        wanted = sum(sums) / (2 * sum(counts))
    else:
        used = [s / (2 * n) for s, n in zip(sums, counts, strict=True) if n]
        wanted = sum(used) / len(used)
    torch.testing.assert_close(value(sides, make_pair(), target, combine=combine), 0.01 * wanted)


@pytest.mark.parametrize("adapter", ["conv1x1", "conv3x3"])
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_an_adapter_in_some_cells_is_that_of_the_whole_map(adapter: str, memory: torch.memory_format) -> None:
    torch.manual_seed(0)
    size = int(adapter[-1])
    layer = nn.Conv2d(5, 7, size, padding=size // 2)
    maps = torch.randn(2, 5, 4, 6).to(memory_format=memory).requires_grad_()
    cells = torch.tensor([0, 5, 18, 23, 24, 31, 47])  # corners, edges and the inside of both images
    picked = fgfi.adapted_at(layer, maps, cells)
    whole = layer(maps).permute(0, 2, 3, 1).flatten(0, 2)[cells]
    torch.testing.assert_close(picked, whole)
    gradients = [
        torch.autograd.grad(out.square().sum(), [maps, *layer.parameters()], retain_graph=True)
        for out in (picked, whole)
    ]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_behind_a_relu_no_student_goes_below_zero(
    sides: tuple[NetworkOutputs, NetworkOutputs], make_pair: MakePair, targets: Tensor
) -> None:
    below = NetworkOutputs({k: v.abs() - 100 for k, v in sides[0].features.items()}, [])
    nought = NetworkOutputs({k: 0 * v for k, v in sides[0].features.items()}, [])
    torch.testing.assert_close(
        value((below, sides[1]), make_pair(), targets, activation="relu"),
        value((nought, sides[1]), make_pair(), targets),
    )


def test_a_student_without_anchors_has_squares_in_their_place(
    make_view: MakeView, make_pair: MakePair, targets: Tensor
) -> None:
    of = make_view("dfl", 0), make_view("dfl", 1)
    squares = [[(5 * stride, 5 * stride)] for stride in STRIDES]
    masks = fgfi.imitation_masks(targets, 2, GRIDS, squares, STRIDES, psi=0.5)
    terms = [
        ((s - t).square().sum(1) * mask).sum() / (2 * mask.sum())
        for s, t, mask in zip(of[0].features.values(), of[1].features.values(), masks, strict=True)
        if mask.any()
    ]
    torch.testing.assert_close(value(of, make_pair("dfl"), targets), 0.01 * sum(terms) / len(terms))
