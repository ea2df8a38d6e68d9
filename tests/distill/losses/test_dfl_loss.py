"""The dfl head's loss against that of the package the head comes from, and where that one has no answer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from distill.losses.anchor_loss import AnchorLoss
from distill.losses.dfl_loss import DflGains, DflLoss
from distill.losses.select import select_loss
from distill.losses.task_aligned_assigner import assign, rows_of
from distill.models.dfl import Dfl
from edgestill.spec import ModelSpec

STRIDES = (8, 16, 32)


def spec_of(nc: int, input_hw: tuple[int, int]) -> ModelSpec:
    classes = tuple(f"c{i}" for i in range(nc))
    return ModelSpec(
        name="yolov5n", input_hw=input_hw, classes=classes, anchors_px=(), head="dfl", layout="yolov8"
    )


def random_raw(batch: int, spec: ModelSpec, seed: int, spread: float = 1.0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    height, width = spec.input_hw
    return [
        (spread * torch.randn(batch, 1, height // s, width // s, 64 + spec.nc, generator=generator))
        .contiguous()
        .requires_grad_()
        for s in STRIDES
    ]


def random_targets(batch: int, nc: int, boxes: int, seed: int) -> Tensor:
    """Boxes of all sizes, some beyond the edge of the image, by image."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, batch, (boxes,), generator=generator).sort().values[:, None]
    class_id = torch.randint(0, nc, (boxes, 1), generator=generator)
    centre = torch.rand(boxes, 2, generator=generator)
    side = 0.02 + torch.rand(boxes, 2, generator=generator) ** 2 * 0.8
    return torch.cat((image, class_id, centre, side), 1)


def original(nc: int, hyp: DflGains) -> Any:
    """The package's loss, without one of its networks."""
    from ultralytics.utils.loss import v8DetectionLoss

    model = nn.Module()
    head = nn.Module()
    head.stride, head.nc, head.reg_max = torch.tensor(STRIDES).float(), nc, 16  # type: ignore[assignment]
    model.model = nn.ModuleList([head])
    model.args = SimpleNamespace(box=hyp.box, cls=hyp.cls, dfl=hyp.dfl)  # type: ignore[assignment]
    model.register_parameter("any", nn.Parameter(torch.zeros(1)))
    return v8DetectionLoss(model)


def as_theirs(raw: list[Tensor]) -> dict[str, Any]:
    """Our raw maps in the form of the package."""
    flat = torch.cat([level.flatten(1, 3) for level in raw], 1).transpose(1, 2)
    feats = [torch.empty(len(level), 1, *level.shape[2:4]) for level in raw]
    return {"boxes": flat[:, :64], "scores": flat[:, 64:], "feats": feats}


@pytest.mark.parametrize(
    ("nc", "input_hw", "batch", "boxes", "spread", "hyp"),
    [
        pytest.param(4, (96, 160), 2, 12, 1.0, DflGains(), id="rectangular"),
        pytest.param(1, (64, 96), 3, 9, 3.0, DflGains(), id="one-class"),
        pytest.param(80, (160, 160), 4, 60, 2.0, DflGains(), id="crowded"),
        pytest.param(3, (96, 96), 2, 10, 1.0, DflGains(box=2.0, cls=3.0, dfl=0.25), id="gains"),
        pytest.param(2, (64, 64), 2, 0, 1.0, DflGains(), id="no-boxes"),
        pytest.param(2, (320, 320), 8, 6, 1.0, DflGains(), id="images-without-boxes"),
    ],
)
def test_values_and_gradients_are_those_of_the_original(
    nc: int, input_hw: tuple[int, int], batch: int, boxes: int, spread: float, hyp: DflGains
) -> None:
    contract = spec_of(nc, input_hw)
    raw, targets = random_raw(batch, contract, boxes, spread), random_targets(batch, nc, boxes, boxes)
    annotation = {"batch_idx": targets[:, 0], "cls": targets[:, 1], "bboxes": targets[:, 2:]}

    total, parts = DflLoss(contract, hyp)(raw, targets)
    wanted, wanted_parts = original(nc, hyp)(as_theirs(raw), annotation)
    assert {name: part.item() for name, part in parts.items()} == pytest.approx(
        {name.removesuffix("_loss"): part.item() for name, part in wanted_parts.items()}, rel=1e-5, abs=1e-6
    )
    assert total.item() == pytest.approx(wanted.sum().item(), rel=1e-5)
    found, expected = torch.autograd.grad(total, raw), torch.autograd.grad(wanted.sum(), raw)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5 * float(theirs.abs().max()))


def test_the_order_of_the_boxes_does_not_matter() -> None:
    contract = spec_of(3, (96, 96))
    raw, targets = random_raw(3, contract, 0), random_targets(3, 3, 20, 0)
    shuffled = targets[torch.randperm(20, generator=torch.Generator().manual_seed(1))]

    torch.testing.assert_close(DflLoss(contract)(raw, targets)[0], DflLoss(contract)(raw, shuffled)[0])


# --- The assignment. ---


def test_a_cell_answers_for_one_box_and_a_box_has_ten_cells_at_most() -> None:
    contract = spec_of(3, (96, 160))
    raw, targets = random_raw(2, contract, 1), random_targets(2, 3, 25, 1)
    match = assign(raw, targets, STRIDES)

    assert len(match.row.unique()) == len(match.row) <= 10 * len(targets)
    assert (match.row.diff() > 0).all()
    assert ((match.weight >= 0) & (match.weight <= 1)).all()


def test_a_small_box_gets_cells_as_if_it_had_the_second_stride() -> None:
    raw = [level.detach().zero_() for level in random_raw(1, spec_of(1, (64, 64)), 2)]
    for level in raw:
        level[..., 1:64:16] = 40.0  # every cell sees a box of 2 x 2 cells around itself
    match = assign(raw, torch.tensor([[0, 0, 0.5, 0.5, 0.1, 0.1]]), STRIDES)

    # No centre lies within 3.2 pixels of (32, 32); within 8 lie those of 2 x 2 cells of the finest level.
    assert match.row.tolist() == [3 * 8 + 3, 3 * 8 + 4, 4 * 8 + 3, 4 * 8 + 4]


def test_the_best_cell_of_a_box_weighs_what_it_overlaps() -> None:
    contract = spec_of(2, (64, 64))
    raw = [level.detach().zero_() for level in random_raw(1, contract, 0)]
    row = raw[0][0, 0, 3, 3]  # its centre is (28, 28)
    for side, distance in enumerate((2, 2, 2, 2)):
        row[16 * side + distance] = 40.0
    row[64 + 1] = 5.0
    match = assign(raw, torch.tensor([[0, 1, 28 / 64, 28 / 64, 32 / 64, 32 / 64]]), STRIDES)

    best = match.weight.argmax()
    assert (match.row[best].item(), match.class_id[best].item()) == (3 * 8 + 3, 1)
    assert match.weight[best].item() == pytest.approx(1, abs=1e-4)
    torch.testing.assert_close(match.box[best], torch.tensor([3.5, 3.5, 4.0, 4.0]))
    torch.testing.assert_close(match.centre[best], torch.tensor([3.5, 3.5]))


def test_rows_are_counted_over_level_image_y_x() -> None:
    raw = [torch.arange(2 * n * n).float().view(2, 1, n, n, 1) + 1000 * n for n in (4, 2, 1)]
    row = torch.tensor([0, 17, 32, 39, 40, 41])

    assert rows_of(raw, row).flatten().tolist() == [4000, 4017, 2000, 2007, 1000, 1001]


# --- The edges. ---


@pytest.mark.parametrize("nc", [1, 4])
def test_a_batch_without_boxes_teaches_the_classes_only(nc: int) -> None:
    contract = spec_of(nc, (64, 96))
    raw = random_raw(2, contract, 0)
    total, parts = DflLoss(contract)(raw, torch.zeros(0, 6))
    torch.autograd.backward(total)

    assert (parts["box"].item(), parts["dfl"].item()) == (0, 0)
    assert parts["cls"].item() > 0
    for level in raw:
        assert level.grad is not None
        assert level.grad[..., 64:].all()
        assert not level.grad[..., :64].any()


@pytest.mark.parametrize(
    "box",
    [
        pytest.param((0.5, 0.5, 0.0, 0.1), id="flat"),
        pytest.param((0.5, 0.5, 0.0, 0.0), id="point"),
        pytest.param((0.5, 0.5, 1.0, 1.0), id="whole"),
        pytest.param((0.0, 1.0, 0.2, 0.2), id="corner"),
        pytest.param((2.0, 2.0, 0.1, 0.1), id="outside"),
    ],
)
@pytest.mark.parametrize("value", [0.0, -200.0, 200.0])
def test_odd_boxes_and_extreme_predictions_give_a_finite_gradient(
    box: tuple[float, ...], value: float
) -> None:
    contract = spec_of(2, (64, 64))
    raw = [torch.full((1, 1, 64 // s, 64 // s, 66), value, requires_grad=True) for s in STRIDES]
    total, _ = DflLoss(contract)(raw, torch.tensor([[0, 1, *box]]))
    torch.autograd.backward(total)

    assert torch.isfinite(total)
    assert all(level.grad is not None and torch.isfinite(level.grad).all() for level in raw)


def test_the_loss_is_float32_under_autocast() -> None:
    contract = spec_of(2, (64, 64))
    raw = [level.detach().bfloat16() for level in random_raw(1, contract, 4)]
    targets = random_targets(1, 2, 6, 4)
    plain, _ = DflLoss(contract)([level.float() for level in raw], targets)
    with torch.autocast("cpu", torch.bfloat16):
        cast, _ = DflLoss(contract)(raw, targets)

    assert cast.dtype == torch.float32
    assert cast.item() == pytest.approx(plain.item(), rel=1e-6)


def test_the_total_is_the_parts_times_the_batch_and_alone_carries_a_gradient() -> None:
    contract = spec_of(3, (64, 64))
    total, parts = DflLoss(contract)(random_raw(4, contract, 5), random_targets(4, 3, 9, 5))

    assert total.item() == pytest.approx(4 * sum(part.item() for part in parts.values()), rel=1e-6)
    assert total.requires_grad
    assert not any(part.requires_grad for part in parts.values())


def test_following_the_gradient_finds_the_box() -> None:
    contract = spec_of(2, (64, 64))
    raw = [level.detach().zero_().requires_grad_() for level in random_raw(1, contract, 0)]
    loss, optimiser = DflLoss(contract), torch.optim.Adam(raw, lr=0.5)
    for _ in range(60):
        optimiser.zero_grad()
        torch.autograd.backward(loss(raw, torch.tensor([[0, 1, 0.4, 0.5, 0.5, 0.375]]))[0])
        optimiser.step()

    found = Dfl(2, (8, 8, 8), STRIDES).decode([level.detach() for level in raw])[0]
    best = found[:, found[4:].amax(0).argmax()]
    torch.testing.assert_close(best[:4], torch.tensor([25.6, 32.0, 32.0, 24.0]), atol=0.5, rtol=0)
    assert best[5] > 0.8
    assert best[4] < 0.1


# --- Which loss a student has. ---


def test_the_head_decides_which_loss() -> None:
    gains = DflGains(box=1.0)
    anchors = ModelSpec(name="yolov5n", input_hw=(64, 64), classes=("a",), head="decoupled")
    loss = select_loss(spec_of(2, (64, 64)), dfl=gains)

    assert isinstance(loss, DflLoss)
    assert loss.hyp == gains
    assert isinstance(select_loss(anchors), AnchorLoss)
