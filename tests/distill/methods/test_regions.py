"""Overlaps, thresholds and rings: worked examples, and agreement with the plain way to compute them."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from distill.losses.task_aligned_assigner import assign
from distill.method import NetworkOutputs
from distill.methods._regions import (
    BOXES_PER_CHUNK,
    AtssRegions,
    anchor_assigned,
    atss_regions,
    centre_distance,
    corners_of,
    giou,
    overlaps,
    priors_px,
    task_aligned,
)
from edgestill.spec import COCO_ANCHORS_PX

STRIDES = (8, 16, 32)
GRIDS = [(8, 12), (4, 6), (2, 3)]
NO_TARGETS = torch.zeros(0, 6)


def row(x1: float, y1: float, x2: float, y2: float, *, size: float, image: int = 0) -> list[float]:
    return [image, 0, (x1 + x2) / 2 / size, (y1 + y2) / 2 / size, (x2 - x1) / size, (y2 - y1) / size]


def toy(*boxes: list[float], gamma: float = 0.25, batch: int = 1) -> AtssRegions:
    """A 5 x 5 grid of stride 8 with squares of 24 pixels."""
    rows = torch.tensor(boxes).view(-1, 6)
    return atss_regions(rows, batch, [(5, 5)], [[(24.0, 24.0)]], [8], gamma=gamma)


CENTRAL = row(8, 8, 32, 32, size=40)


def cells(mask: Tensor) -> set[tuple[int, int]]:
    return {(int(y), int(x)) for y, x in mask.nonzero()}


def many(seed: int, count: int, batch: int = 3) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    place, side = torch.rand(count, 2, generator=random), torch.rand(count, 2, generator=random) * 0.5 + 0.02
    image = torch.randint(0, batch, (count, 1), generator=random)
    return torch.cat((image.float(), torch.zeros(count, 1), place, side), 1)


# --- overlaps


def test_overlaps_of_the_worked_example() -> None:
    where = torch.tensor([[8.0, 8, 32, 32]]), (5, 5), [(24.0, 24.0)], 8
    iou = overlaps(*where)
    diou = iou - centre_distance(*where)
    rows = [
        [0.0588, 0.1250, 0.2, 0.1250, 0.0588],
        [0.125, 0.2857, 0.5, 0.2857, 0.125],
        [0.2, 0.5, 1, 0.5, 0.2],
    ]
    torch.testing.assert_close(iou[0, 0, :3], torch.tensor(rows), atol=5e-5, rtol=0)
    less = [[0.0030, 0.2232, 0.46, 0.2232, 0.0030], [0.0824, 0.46, 1, 0.46, 0.0824]]
    torch.testing.assert_close(diou[0, 0, 1:3], torch.tensor(less), atol=5e-5, rtol=0)


def test_overlaps_are_those_of_the_plain_way() -> None:
    boxes = corners_of(many(0, 20), GRIDS, STRIDES)
    grid, priors, stride = GRIDS[0], COCO_ANCHORS_PX[0], STRIDES[0]
    iou = overlaps(boxes, grid, priors, stride)
    diou = iou - centre_distance(boxes, grid, priors, stride)
    y, x = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
    centre = (torch.stack((x, y), -1) + 0.5) * stride
    half = torch.tensor(priors)[:, None, None] / 2
    prior = torch.cat((centre - half, centre + half), -1)[None]  # [1, A, rows, columns, 4]
    box = boxes[:, None, None, None]
    inter = (torch.minimum(box, prior)[..., 2:] - torch.maximum(box, prior)[..., :2]).clamp(min=0).prod(-1)
    areas = [(b[..., 2:] - b[..., :2]).prod(-1) for b in (box, prior)]
    wanted = inter / (areas[0] + areas[1] - inter)
    hull = torch.maximum(box, prior)[..., 2:] - torch.minimum(box, prior)[..., :2]
    between = (box[..., :2] + box[..., 2:] - prior[..., :2] - prior[..., 2:]) / 2
    torch.testing.assert_close(iou, wanted)
    torch.testing.assert_close(diou, wanted - between.square().sum(-1) / hull.square().sum(-1))


def test_generalised_overlap() -> None:
    a = torch.tensor([[0.0, 0, 2, 2], [0, 0, 1, 1], [0, 0, 2, 2]])
    b = torch.tensor([[0.0, 0, 2, 2], [2, 0, 3, 1], [1, 1, 3, 3]])
    # The same; apart by a third of their hull; 1/7 of the union, and 2/9 of the hull empty.
    assert giou(a, b).tolist() == pytest.approx([1, -1 / 3, 1 / 7 - 2 / 9])


def test_boxes_without_extent_stay_finite() -> None:
    point = torch.zeros(1, 4)
    assert torch.isfinite(giou(point, point)).all()
    assert torch.isfinite(overlaps(point, (5, 5), [(24.0, 24.0)], 8)).all()


# --- ATSS and the ring


def test_regions_of_the_worked_example() -> None:
    found = toy(CENTRAL)
    assert cells(found.positive[0][0, 0]) == {(2, 2)}
    around = {(y, x) for y in (1, 2, 3) for x in (1, 2, 3)} - {(2, 2)}
    assert cells(found.ring[0][0, 0] > 0) == around
    assert float(found.ring[0][0, 0, 1, 2]) == pytest.approx(0.5)  # the overlap, not the DIoU
    assert float(found.ring[0][0, 0, 1, 1]) == pytest.approx(0.2857, abs=5e-5)


def test_the_ring_begins_at_the_threshold() -> None:
    # alpha is 0.689310: with gamma just below or above 0.46 / alpha the direct neighbours are in or out.
    assert len(cells(toy(CENTRAL, gamma=0.4600 / 0.68931 - 1e-3).ring[0][0, 0])) == 4
    assert not toy(CENTRAL, gamma=0.4600 / 0.68931 + 1e-3).ring[0].any()


def test_gamma_one_leaves_no_ring_and_less_gamma_more() -> None:
    targets = many(1, 12)
    rings = [
        atss_regions(targets, 3, GRIDS, COCO_ANCHORS_PX, STRIDES, gamma=gamma).ring
        for gamma in (1.0, 0.5, 0.25, 0.05)
    ]
    assert not any(level.any() for level in rings[0])
    for tight, wide in pairwise(rings):
        assert all(((t == 0) | (w > 0)).all() for t, w in zip(tight, wide, strict=True))
    assert sum(int((w > 0).sum()) for w in rings[-1]) > sum(int((w > 0).sum()) for w in rings[1])


def test_rings_are_not_transposed() -> None:
    tall = toy(row(12, 0, 20, 40, size=40)).ring[0][0, 0]
    at = tall.nonzero().float()
    assert at[:, 1].max() - at[:, 1].min() < at[:, 0].max() - at[:, 0].min() + 1
    found = atss_regions(
        torch.tensor([[0, 0, 0.1, 0.75, 0.1, 0.2]]), 1, GRIDS, COCO_ANCHORS_PX, STRIDES, gamma=0.1
    )
    where = torch.cat([found.ring[0][0].nonzero(), found.positive[0][0].nonzero()]).float().mean(0)
    assert where[1] > 4  # rows: the lower half of 8
    assert where[2] < 4  # columns: the left third of 12


def test_of_several_rings_the_largest_overlap_counts_in_any_order() -> None:
    boxes = many(2, 3 * BOXES_PER_CHUNK + 5)  # in several portions
    shuffled = boxes[torch.randperm(len(boxes), generator=torch.Generator().manual_seed(0))]
    one, other = (atss_regions(t, 3, GRIDS, COCO_ANCHORS_PX, STRIDES, gamma=0.25) for t in (boxes, shuffled))
    for level in range(3):
        assert torch.equal(one.ring[level], other.ring[level])
        assert torch.equal(one.positive[level], other.positive[level])
    alone = [
        atss_regions(box[None], 3, GRIDS, COCO_ANCHORS_PX, STRIDES, gamma=0.25).ring[0] for box in boxes[:4]
    ]
    together = atss_regions(boxes[:4], 3, GRIDS, COCO_ANCHORS_PX, STRIDES, gamma=0.25).ring[0]
    assert torch.equal(together, torch.stack(alone).amax(0))


def test_an_image_has_its_own_boxes_alone() -> None:
    here, there = toy(CENTRAL, batch=2), toy([1, *CENTRAL[1:]], batch=2)
    assert not here.ring[0][1].any()
    assert not here.positive[0][1].any()
    assert torch.equal(here.ring[0][0], there.ring[0][1])


def test_no_boxes_no_regions() -> None:
    found = atss_regions(NO_TARGETS, 2, GRIDS, COCO_ANCHORS_PX, STRIDES, gamma=0.25)
    assert not any(level.any() for level in (*found.ring, *found.positive))


def test_a_box_of_no_extent_has_no_regions() -> None:
    found = toy(row(20, 20, 20, 20, size=40))
    assert not found.ring[0].any()
    assert not found.positive[0].any()


def test_heads_without_anchors_have_squares_of_five_strides() -> None:
    assert priors_px((), STRIDES) == [[(40, 40)], [(80, 80)], [(160, 160)]]
    assert priors_px(COCO_ANCHORS_PX, STRIDES) is COCO_ANCHORS_PX


# --- where a head answers


def test_where_an_anchor_head_answers() -> None:
    target = torch.tensor([[0, 5, 20.8 / 64, 35.2 / 64, 16 / 64, 24 / 64]])
    grids = [(8, 8), (4, 4), (2, 2)]
    p3, p4, p5 = anchor_assigned(target, 1, grids, COCO_ANCHORS_PX, STRIDES, anchor_t=4.0)
    assert {tuple(at) for at in p3[0].nonzero().tolist()} == {
        (a, j, i) for a in (0, 1, 2) for j, i in ((4, 2), (4, 3), (3, 2))
    }
    assert int(p4.sum()) == 6
    assert not p5.any()


def dfl_teacher(seed: int) -> NetworkOutputs:
    random = torch.Generator().manual_seed(seed)
    return NetworkOutputs({}, [torch.randn(3, 1, *grid, 64 + 2, generator=random) for grid in GRIDS], "dfl")


def test_where_an_anchor_free_head_answers() -> None:
    raw = [torch.full((2, 1, *grid, 64 + 2), -20.0) for grid in GRIDS]
    for level in raw:
        level[..., 1:64:16] = 20.0  # every cell predicts a box of two cells, in any class
        level[..., 64:] = 2.0
    target = torch.tensor([[1, 0, 28 / 96, 36 / 64, 16 / 96, 16 / 64]])  # what row 4, column 3 of p3 predicts
    masks = task_aligned(target, NetworkOutputs({}, raw, "dfl"), STRIDES)
    assert [mask.shape for mask in masks] == [level.shape[:4] for level in raw]
    assert (1, 0, 4, 3) in {tuple(at) for at in masks[0].nonzero().tolist()}
    near = {(1, 0, y, x) for y in (3, 4, 5) for x in (2, 3, 4)}
    assert {tuple(at) for at in masks[0].nonzero().tolist()} <= near
    assert sum(int(mask.sum()) for mask in masks) == int((assign(raw, target, STRIDES).weight > 0).sum())


def test_an_anchor_free_head_answers_for_nothing_without_boxes() -> None:
    assert not any(mask.any() for mask in task_aligned(NO_TARGETS, dfl_teacher(0), STRIDES))
