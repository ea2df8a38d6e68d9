"""The anchor loss against the published assignment and an obvious, slow computation of the same."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from distill.losses.anchor_assigner import Assignment, build_targets
from distill.losses.anchor_loss import AnchorLoss, LossGains, ciou
from edgestill.errors import UsageError
from edgestill.spec import COCO_ANCHORS_PX, ModelSpec

STRIDES = (8, 16, 32)


def spec_of(nc: int, input_hw: tuple[int, int]) -> ModelSpec:
    return ModelSpec(name="yolov5n", input_hw=input_hw, classes=tuple(f"c{i}" for i in range(nc)))


def random_raw(batch: int, spec: ModelSpec, seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    height, width = spec.input_hw
    return [
        torch.randn(batch, 3, height // s, width // s, 5 + spec.nc, generator=generator).requires_grad_()
        for s in spec.strides
    ]


def random_targets(batch: int, nc: int, boxes: int, seed: int) -> Tensor:
    """Boxes of all sizes, some twice, some with their centre on the edge of the image."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, batch, (boxes, 1), generator=generator)
    class_id = torch.randint(0, nc, (boxes, 1), generator=generator)
    centre = torch.rand(boxes, 2, generator=generator)
    centre[0], centre[1] = 1.0, 0.0
    side = 0.02 + torch.rand(boxes, 2, generator=generator) ** 2 * 0.8
    targets = torch.cat((image, class_id, centre, side), 1)
    again = targets[2:4].clone()
    again[:, 1] = (again[:, 1] + 1) % nc
    return torch.cat((targets, again))


# --- The slow computation: one box, one anchor, one cell at a time, in plain Python. ---

Entry = tuple[int, int, int, int, int, tuple[float, float, float, float]]


def slow_assignment(targets: Tensor, grid_hw: tuple[int, int], level: int, anchor_t: float) -> list[Entry]:
    """Entries (image, anchor, y, x, class, box in cells), own cells first, then left, up, right, down."""
    height, width = grid_hw
    own: list[Entry] = []
    left: list[Entry] = []
    up: list[Entry] = []
    right: list[Entry] = []
    down: list[Entry] = []
    anchors = [(w / STRIDES[level], h / STRIDES[level]) for w, h in COCO_ANCHORS_PX[level]]
    for anchor, (aw, ah) in enumerate(anchors):
        for row in targets.tolist():
            image, class_id = int(row[0]), int(row[1])
            x, y, w, h = row[2] * width, row[3] * height, row[4] * width, row[5] * height
            if max(w / aw, aw / w, h / ah, ah / h) >= anchor_t:
                continue
            places = [
                (own, True, 0.0, 0.0),
                (left, x % 1 < 0.5 and x > 1, -0.5, 0.0),
                (up, y % 1 < 0.5 and y > 1, 0.0, -0.5),
                (right, (width - x) % 1 < 0.5 and width - x > 1, 0.5, 0.0),
                (down, (height - y) % 1 < 0.5 and height - y > 1, 0.0, 0.5),
            ]
            for entries, answers, dx, dy in places:
                if answers:
                    column, line = min(int(x + dx), width - 1), min(int(y + dy), height - 1)
                    box = (x - column, y - line, w, h)
                    entries.append((image, anchor, line, column, class_id, box))
    return own + left + up + right + down


def slow_ciou(a: Sequence[float], b: Sequence[float]) -> float:
    ax0, ay0, ax1, ay1 = a[0] - a[2] / 2, a[1] - a[3] / 2, a[0] + a[2] / 2, a[1] + a[3] / 2
    bx0, by0, bx1, by1 = b[0] - b[2] / 2, b[1] - b[3] / 2, b[0] + b[2] / 2, b[1] + b[3] / 2
    inter = max(min(ax1, bx1) - max(ax0, bx0), 0) * max(min(ay1, by1) - max(ay0, by0), 0)
    iou = inter / (a[2] * a[3] + b[2] * b[3] - inter)
    diagonal = (max(ax1, bx1) - min(ax0, bx0)) ** 2 + (max(ay1, by1) - min(ay0, by0)) ** 2
    v = 4 / math.pi**2 * (math.atan(b[2] / b[3]) - math.atan(a[2] / a[3])) ** 2
    alpha = v / (1 - iou + v) if v else 0.0
    return iou - ((a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2) / diagonal - alpha * v


def bce(logit: float, wanted: float) -> float:
    p = 1 / (1 + math.exp(-logit))
    return -(wanted * math.log(p) + (1 - wanted) * math.log(1 - p))


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def slow_loss(
    raw: list[Tensor], targets: Tensor, spec: ModelSpec, hyp: LossGains
) -> tuple[float, dict[str, float]]:
    box = obj = cls = 0.0
    for level, (maps, balance) in enumerate(zip(raw, hyp.balance, strict=True)):
        wanted: dict[tuple[int, ...], float] = {}
        misses, class_terms = [], []
        for image, anchor, y, x, class_id, true in slow_assignment(
            targets, (maps.shape[2], maps.shape[3]), level, hyp.anchor_t
        ):
            t = maps[image, anchor, y, x].tolist()
            p = [1 / (1 + math.exp(-v)) for v in t[:4]]
            aw, ah = (side / STRIDES[level] for side in COCO_ANCHORS_PX[level][anchor])
            found = (2 * p[0] - 0.5, 2 * p[1] - 0.5, (2 * p[2]) ** 2 * aw, (2 * p[3]) ** 2 * ah)
            overlap = slow_ciou(found, true)
            misses.append(1 - overlap)
            wanted[image, anchor, y, x] = max(overlap, 0)
            for other in range(spec.nc):
                hit = 1 - hyp.label_smoothing / 2 if other == class_id else hyp.label_smoothing / 2
                class_terms.append(bce(t[5 + other], hit))
        box += mean(misses)
        cls += mean(class_terms) if spec.nc > 1 else 0.0
        everywhere = [tuple(i) for i in torch.ones(maps.shape[:4]).nonzero().tolist()]
        obj += balance * mean([bce(maps[c][4].item(), wanted.get(c, 0.0)) for c in everywhere])
    height, width = spec.input_hw
    parts = {
        "box": box * hyp.box,
        "obj": obj * hyp.obj * height * width / 640**2,
        "cls": cls * hyp.cls * spec.nc / 80,
    }
    return sum(parts.values()) * len(raw[0]), parts


@pytest.mark.parametrize(
    ("nc", "input_hw", "hyp"),
    [
        pytest.param(4, (96, 160), LossGains(), id="rectangular"),
        pytest.param(1, (96, 96), LossGains(), id="one-class"),
        pytest.param(3, (64, 64), LossGains(label_smoothing=0.1, anchor_t=2.5), id="smoothing"),
        pytest.param(2, (64, 96), LossGains(box=0.1, obj=0.7, cls=0.3, balance=(1.0, 2.0, 3.0)), id="gains"),
    ],
)
def test_the_loss_is_what_an_obvious_computation_gives(
    nc: int, input_hw: tuple[int, int], hyp: LossGains
) -> None:
    spec = spec_of(nc, input_hw)
    raw, targets = random_raw(2, spec, seed=nc), random_targets(2, nc, boxes=12, seed=nc)

    total, parts = AnchorLoss(spec, hyp)(raw, targets)
    wanted_total, wanted_parts = slow_loss([r.detach() for r in raw], targets, spec, hyp)
    assert {name: part.item() for name, part in parts.items()} == pytest.approx(wanted_parts, rel=1e-5)
    assert total.item() == pytest.approx(wanted_total, rel=1e-5)


def cells(match: Assignment) -> set[tuple[int, int, int]]:
    """Anchor, row, column of each entry."""
    return set(zip(match.anchor.tolist(), match.y.tolist(), match.x.tolist(), strict=True))


@pytest.fixture
def published() -> list[Assignment]:
    """Of the original at tag v7.0: 64 x 64 image, class 5, centre (20.8, 35.2), 16 x 24 pixels."""
    targets = torch.tensor([[0, 5, 20.8 / 64, 35.2 / 64, 16 / 64, 24 / 64]])
    return build_targets(targets, [(8, 8), (4, 4), (2, 2)], COCO_ANCHORS_PX, STRIDES)


@pytest.mark.parametrize(
    ("level", "anchors", "answering"),
    [(0, (0, 1, 2), ((4, 2), (4, 3), (3, 2))), (1, (0, 1), ((2, 1), (2, 0), (1, 1))), (2, (), ())],
)
def test_the_published_cells_answer(
    published: list[Assignment],
    level: int,
    anchors: tuple[int, ...],
    answering: tuple[tuple[int, int], ...],
) -> None:
    assert len(published[level]) == len(anchors) * len(answering)
    assert cells(published[level]) == {(a, *cell) for a in anchors for cell in answering}


def test_the_published_box_is_relative_to_its_cell(published: list[Assignment]) -> None:
    p3 = published[0]
    own = (p3.y == 4) & (p3.x == 2)

    torch.testing.assert_close(p3.box[own], torch.tensor([[0.6, 0.4, 2.0, 3.0]]).repeat(3, 1))
    assert set(p3.class_id.tolist()) == {5}


@pytest.mark.parametrize("grid_hw", [(12, 20), (20, 12)], ids=["landscape", "portrait"])
def test_rectangular_maps_are_assigned_like_the_slow_way(grid_hw: tuple[int, int]) -> None:
    targets = random_targets(3, 4, boxes=20, seed=7)
    (match,) = build_targets(targets, [grid_hw], COCO_ANCHORS_PX[:1], STRIDES[:1])

    slow = slow_assignment(targets, grid_hw, 0, 4.0)
    fields = (match.image, match.anchor, match.y, match.x, match.class_id)
    assert list(zip(*(f.tolist() for f in fields), strict=True)) == [entry[:5] for entry in slow]


@pytest.mark.parametrize("nc", [1, 4])
def test_a_batch_without_boxes_has_a_finite_loss_that_teaches_objectness_only(nc: int) -> None:
    spec = spec_of(nc, (64, 96))
    raw = random_raw(2, spec, seed=0)
    total, parts = AnchorLoss(spec)(raw, torch.zeros(0, 6))
    torch.autograd.backward(total)

    assert (parts["box"].item(), parts["cls"].item()) == (0, 0)
    assert all(
        level.grad is not None and level.grad[..., 4].all() and not level.grad[..., :4].any() for level in raw
    )
    assert torch.isfinite(total)


@pytest.mark.parametrize("side", [(0.0, 0.1), (1.0, 1.0), (1e-6, 1e-6)], ids=["flat", "whole", "tiny"])
def test_boxes_that_fit_no_anchor_give_a_finite_gradient(side: tuple[float, float]) -> None:
    spec = spec_of(2, (64, 64))
    raw = random_raw(1, spec, seed=0)
    total, _ = AnchorLoss(spec)(raw, torch.tensor([[0, 1, 0.5, 0.5, *side]]))
    torch.autograd.backward(total)

    assert all(level.grad is not None and torch.isfinite(level.grad).all() for level in raw)


def test_an_extreme_prediction_gives_a_finite_gradient() -> None:
    spec = spec_of(2, (64, 64))
    raw = [torch.full((1, 3, 64 // s, 64 // s, 7), -200.0, requires_grad=True) for s in STRIDES]
    total, _ = AnchorLoss(spec)(raw, torch.tensor([[0, 1, 0.5, 0.5, 0.3, 0.3]]))
    torch.autograd.backward(total)

    assert all(level.grad is not None and torch.isfinite(level.grad).all() for level in raw)


def test_where_two_boxes_share_a_prediction_the_last_one_counts() -> None:
    spec = spec_of(2, (64, 64))
    raw = random_raw(1, spec, seed=3)
    first, last = [0, 0, 0.5, 0.5, 0.3, 0.3], [0, 0, 0.5, 0.5, 0.2, 0.4]
    loss = AnchorLoss(spec)

    both = loss(raw, torch.tensor([first, last]))[1]["obj"]
    swapped = loss(raw, torch.tensor([last, first]))[1]["obj"]
    slow = slow_loss([r.detach() for r in raw], torch.tensor([first, last]), spec, LossGains())[1]["obj"]
    assert both.item() == pytest.approx(slow, rel=1e-6)
    assert both.item() != swapped.item()


def test_the_loss_is_float32_under_autocast() -> None:
    spec = spec_of(2, (64, 64))
    raw = [level.detach().bfloat16() for level in random_raw(1, spec, seed=4)]
    targets = random_targets(1, 2, boxes=6, seed=4)
    plain, _ = AnchorLoss(spec)([level.float() for level in raw], targets)
    with torch.autocast("cpu", torch.bfloat16):
        cast, _ = AnchorLoss(spec)(raw, targets)

    assert cast.dtype == torch.float32
    assert cast.item() == plain.item()


def test_the_total_grows_with_the_batch_and_the_parts_do_not() -> None:
    spec = spec_of(3, (64, 64))
    raw, targets = random_raw(1, spec, seed=5), random_targets(1, 3, boxes=5, seed=5)
    again = targets.clone()
    again[:, 0] = 1
    loss = AnchorLoss(spec)

    one, parts = loss(raw, targets)
    two, parts_of_two = loss([torch.cat((r, r)) for r in raw], torch.cat((targets, again)))
    assert two.item() == pytest.approx(2 * one.item(), rel=1e-5)
    assert {n: v.item() for n, v in parts_of_two.items()} == pytest.approx(
        {n: v.item() for n, v in parts.items()}, rel=1e-5
    )


def test_only_the_total_carries_a_gradient() -> None:
    spec = spec_of(2, (64, 64))
    total, parts = AnchorLoss(spec)(random_raw(1, spec, seed=6), random_targets(1, 2, boxes=5, seed=6))

    assert total.requires_grad
    assert not any(part.requires_grad for part in parts.values())


def test_gains_for_another_number_of_levels_are_refused() -> None:
    with pytest.raises(UsageError, match="balance has 2 entries, the model has 3 levels"):
        AnchorLoss(spec_of(2, (64, 64)), LossGains(balance=(1.0, 1.0)))


def test_ciou_of_equal_boxes_is_one() -> None:
    boxes = torch.tensor([[0.5, 0.5, 2.0, 3.0], [1.0, 1.0, 0.1, 9.0]])
    torch.testing.assert_close(ciou(boxes, boxes), torch.ones(2), atol=1e-5, rtol=0)


def test_ciou_of_boxes_far_apart_is_negative() -> None:
    assert ciou(torch.tensor([[0.0, 0, 1, 1]]), torch.tensor([[9.0, 9, 1, 1]])).item() < -0.5
