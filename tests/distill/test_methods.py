"""What every distillation method must satisfy, whatever its formula; then each formula by itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields, replace
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from distill.methods import fgfi, logits
from distill.methods.cwd import Config as CwdConfig
from distill.methods.cwd import Loss as CwdLoss
from distill.recipe import METHODS
from distill.views import Pair, View
from edgestill.errors import UsageError
from edgestill.spec import COCO_ANCHORS_PX

STRIDES = (8, 16, 32)
HW = (64, 96)
NC = 3
TARGETS = torch.tensor(
    [
        [0, 1, 0.3, 0.4, 0.2, 0.3],
        [1, 0, 0.7, 0.6, 0.1, 0.1],
        [1, 2, 0.2, 0.8, 0.3, 0.2],
        [1, 2, 0.5, 0.5, 1.0, 1.0],  # as large as the image: the coarse level's
    ]
)
NO_TARGETS = torch.zeros(0, 6)


def pair(student: int = 6, teacher: int = 6) -> Pair:
    return Pair(
        student_channels={"p3": student, "p4": student, "p5": student},
        teacher_channels={"p3": teacher, "p4": teacher, "p5": teacher},
        strides=STRIDES,
        anchors_px=COCO_ANCHORS_PX,
        nc=NC,
        input_hw=HW,
    )


def view(channels: int, seed: int, *, batch: int = 2) -> View:
    random = torch.Generator().manual_seed(seed)
    grids = [(HW[0] // s, HW[1] // s) for s in STRIDES]
    features = {
        level: torch.randn(batch, channels, *grid, generator=random, requires_grad=True)
        for level, grid in zip(("p3", "p4", "p5"), grids, strict=True)
    }
    raw = [torch.randn(batch, 3, *grid, 5 + NC, generator=random, requires_grad=True) for grid in grids]
    return View(features, raw)


def leaves(of: View) -> list[Tensor]:
    return [*of.features.values(), *of.raw]


def identity(module: Any) -> Any:
    """The method's default settings without an adapter, so that two equal sides are compared as they are."""
    config = module.Config()
    has_adapter = "adapter" in {f.name for f in fields(config)}
    return replace(config, adapter="identity") if has_adapter else config


def total(terms: Mapping[str, Tensor]) -> Tensor:
    return torch.stack(list(terms.values())).sum()


@pytest.fixture(params=METHODS.names())
def module(request: pytest.FixtureRequest) -> Any:
    return METHODS.load(request.param)


def test_a_student_equal_to_its_teacher_has_nothing_to_learn(module: Any) -> None:
    both = view(6, 0)
    loss = module.Loss(identity(module), pair())
    assert float(total(loss(both, both, TARGETS)).detach()) == pytest.approx(0, abs=1e-5)


def test_a_student_equal_to_its_teacher_is_not_moved(module: Any) -> None:
    student, teacher = view(6, 0), view(6, 0)
    total(module.Loss(identity(module), pair())(student, teacher, TARGETS)).backward()
    assert all(leaf.grad is None or leaf.grad.abs().max() < 1e-5 for leaf in leaves(student))


def test_different_sides_have_something_to_learn(module: Any) -> None:
    loss = module.Loss(module.Config(), pair())
    assert float(total(loss(view(6, 0), view(6, 1), TARGETS)).detach()) > 0


def test_only_the_student_is_taught(module: Any) -> None:
    student, teacher = view(6, 0), view(6, 1)
    total(module.Loss(module.Config(), pair())(student, teacher, TARGETS)).backward()
    assert any(leaf.grad is not None and leaf.grad.abs().sum() > 0 for leaf in leaves(student))
    assert all(leaf.grad is None for leaf in leaves(teacher))


def test_adapters_are_taught_with_the_student(module: Any) -> None:
    loss = module.Loss(module.Config(), pair(4, 6))
    total(loss(view(4, 0), view(6, 1), TARGETS)).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in loss.parameters())


def test_different_widths_are_aligned(module: Any) -> None:
    loss = module.Loss(module.Config(), pair(4, 6))
    assert torch.isfinite(total(loss(view(4, 0), view(6, 1), TARGETS)))


def test_a_batch_without_objects_is_finite_and_has_gradients(module: Any) -> None:
    student = view(6, 0)
    value = total(module.Loss(module.Config(), pair())(student, view(6, 1), NO_TARGETS))
    value.backward()
    assert torch.isfinite(value)
    assert all(leaf.grad is None or torch.isfinite(leaf.grad).all() for leaf in leaves(student))


def test_a_batch_twice_as_long_with_the_same_images_costs_the_same(module: Any) -> None:
    loss = module.Loss(module.Config(), pair())
    student, teacher = view(6, 0), view(6, 1)
    once = total(loss(student, teacher, TARGETS))
    again = TARGETS.clone()
    again[:, 0] += 2
    twice = total(loss(_doubled(student), _doubled(teacher), torch.cat((TARGETS, again))))
    torch.testing.assert_close(twice, once, rtol=1e-4, atol=1e-6)


def test_a_method_names_its_source(module: Any) -> None:
    assert re.search(r"^Source: .*https://", module.__doc__, re.MULTILINE | re.DOTALL)


def test_a_method_says_that_it_is_a_mean_over_the_batch(module: Any) -> None:
    assert "multiplies" in module.__doc__
    assert "batch size" in " ".join(module.__doc__.split())


def test_the_weight_scales_every_term(module: Any) -> None:
    student, teacher = view(6, 0), view(6, 1)
    torch.manual_seed(0)
    once = module.Loss(module.Config(weight=1.0), pair())(student, teacher, TARGETS)
    torch.manual_seed(0)
    thrice = module.Loss(module.Config(weight=3.0), pair())(student, teacher, TARGETS)
    for name, value in once.items():
        torch.testing.assert_close(thrice[name], 3 * value)


def test_an_identity_adapter_between_different_widths_is_refused() -> None:
    with pytest.raises(UsageError, match="p3 has 4 channels here and 6 in the teacher"):
        CwdLoss(CwdConfig(adapter="identity"), pair(4, 6))


def _doubled(of: View) -> View:
    return View({k: torch.cat((v, v)) for k, v in of.features.items()}, [torch.cat((r, r)) for r in of.raw])


# --- fgfi


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
def test_fgfi_looks_at_the_cells_of_the_reference(
    boxes: list[tuple[float, float, float, float]], anchors: list[tuple[float, float]], wanted: set[Any]
) -> None:
    assert cells(masks(boxes, anchors)) == wanted


@pytest.mark.parametrize(("psi", "count"), [(0, 16), (0.25, 12), (0.5, 4), (0.75, 4), (0.99, 4), (1.0, 0)])
def test_fgfi_looks_at_fewer_cells_with_a_higher_psi(psi: float, count: int) -> None:
    assert int(masks([(8, 8, 24, 24)], [(16, 16)], psi=psi).sum()) == count


def test_fgfi_masks_are_not_transposed() -> None:
    x, y, w, h = 10 * 8, 40 * 8, 6 * 8, 10 * 8
    box = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
    lit = masks([box], [(w, h)], grid=(80, 80)).nonzero().float()
    assert lit.mean(0).tolist() == pytest.approx([39.5, 9.5])  # rows first; cells count from their corner


def test_fgfi_masks_do_not_depend_on_the_order_or_number_of_equal_boxes() -> None:
    one, two = (0.0, 0.0, 8.0, 8.0), (16.0, 16.0, 32.0, 32.0)
    anchors = [(8.0, 8.0), (16.0, 16.0)]
    assert torch.equal(masks([one, two], anchors), masks([two, one, two], anchors))


def test_fgfi_costs_nothing_without_objects() -> None:
    student = view(6, 0)
    value = total(fgfi.Loss(fgfi.Config(), pair())(student, view(6, 1), NO_TARGETS))
    value.backward()
    assert float(value.detach()) == 0.0
    assert all(not leaf.grad.any() for leaf in student.features.values() if leaf.grad is not None)


def test_fgfi_is_not_changed_by_an_image_without_objects() -> None:
    loss = fgfi.Loss(fgfi.Config(adapter="identity"), pair())
    only_first = TARGETS[:1]
    student, teacher = view(6, 0), view(6, 1)
    first = [View({k: v[:1] for k, v in of.features.items()}, of.raw) for of in (student, teacher)]
    torch.testing.assert_close(total(loss(student, teacher, only_first)), total(loss(*first, only_first)))


def test_fgfi_grows_with_the_square_of_the_difference() -> None:
    loss = fgfi.Loss(fgfi.Config(adapter="identity"), pair())
    teacher = view(6, 1)
    near, far = (
        View({k: v + scale for k, v in teacher.features.items()}, teacher.raw) for scale in (0.5, 1.5)
    )
    torch.testing.assert_close(
        total(loss(far, teacher, TARGETS)), 9 * total(loss(near, teacher, TARGETS)), rtol=1e-4, atol=0
    )


@pytest.mark.parametrize(("reduction", "factor"), [("paper", 2), ("channel_mean", 1)])
def test_fgfi_sums_over_channels_only_in_the_papers_reduction(reduction: Any, factor: int) -> None:
    student, teacher = view(6, 0), view(6, 1)
    wide = [
        View({k: torch.cat((v, v), 1) for k, v in of.features.items()}, of.raw) for of in (student, teacher)
    ]
    config = fgfi.Config(adapter="identity", reduction=reduction)
    torch.testing.assert_close(
        total(fgfi.Loss(config, pair(12, 12))(*wide, TARGETS)),
        factor * total(fgfi.Loss(config, pair())(student, teacher, TARGETS)),
    )


def test_fgfi_does_not_look_outside_of_its_mask() -> None:
    loss = fgfi.Loss(fgfi.Config(adapter="identity"), pair())
    student, teacher = view(6, 0), view(6, 1)
    grids = [(m.shape[2], m.shape[3]) for m in student.features.values()]
    near = fgfi.imitation_masks(TARGETS, 2, grids, COCO_ANCHORS_PX, STRIDES, psi=0.5)
    moved = View(
        {k: v + 7 * ~mask[:, None] for (k, v), mask in zip(student.features.items(), near, strict=True)},
        student.raw,
    )
    torch.testing.assert_close(total(loss(moved, teacher, TARGETS)), total(loss(student, teacher, TARGETS)))


# --- cwd


def test_cwd_takes_no_notice_of_a_shifted_channel() -> None:
    student, teacher = view(6, 0), view(6, 1)
    shifted = View({k: v + torch.arange(6.0).view(1, 6, 1, 1) for k, v in student.features.items()}, [])
    loss = CwdLoss(CwdConfig(adapter="identity", normalise=False), pair())
    torch.testing.assert_close(total(loss(shifted, teacher, TARGETS)), total(loss(student, teacher, TARGETS)))


def test_normalised_cwd_takes_no_notice_of_a_channels_scale() -> None:
    student, teacher = view(6, 0), view(6, 1)
    scaled = View({k: 5 * v - 2 for k, v in student.features.items()}, [])
    loss = CwdLoss(CwdConfig(adapter="identity"), pair())
    torch.testing.assert_close(
        total(loss(scaled, teacher, TARGETS)), total(loss(student, teacher, TARGETS)), rtol=1e-3, atol=1e-5
    )


def test_plain_cwd_notices_a_channels_scale() -> None:
    student, teacher = view(6, 0), view(6, 1)
    scaled = View({k: 5 * v for k, v in student.features.items()}, [])
    loss = CwdLoss(CwdConfig(adapter="identity", normalise=False), pair())
    assert total(loss(scaled, teacher, TARGETS)) > 2 * total(loss(student, teacher, TARGETS))


def test_cwd_is_the_divergence_of_two_distributions_over_the_cells() -> None:
    p, q = torch.tensor([0.5, 0.25, 0.125, 0.125]), torch.tensor([0.25, 0.25, 0.25, 0.25])
    one = Pair(
        student_channels={"p3": 1},
        teacher_channels={"p3": 1},
        strides=(8,),
        anchors_px=(),
        nc=1,
        input_hw=(16, 16),
    )
    loss = CwdLoss(CwdConfig(adapter="identity", normalise=False), one)
    maps = [View({"p3": d.log().view(1, 1, 2, 2)}, []) for d in (q, p)]
    assert float(loss(*maps, NO_TARGETS)["p3"]) == pytest.approx(float((p * (p / q).log()).sum()), rel=1e-5)


# --- logits


def with_objectness(of: View, logit: float) -> View:
    raw = [level.detach().clone() for level in of.raw]
    for level in raw:
        level[..., 4] = logit
    return View(of.features, raw)


def test_a_teacher_that_sees_nothing_teaches_no_class_and_no_box() -> None:
    loss = logits.Loss(logits.Config(), pair())
    terms = loss(view(6, 0), with_objectness(view(6, 1), -60.0), TARGETS)
    assert float(terms["cls"].detach()) == pytest.approx(0, abs=1e-12)
    assert float(terms["box"].detach()) == pytest.approx(0, abs=1e-12)


def test_classes_count_in_proportion_to_the_teachers_objectness() -> None:
    loss = logits.Loss(logits.Config(), pair())
    student = view(6, 0)
    # So faint that the sum of weights stays below one object an image, where the divisor is constant.
    faint, fainter = (
        loss(student, with_objectness(view(6, 1), logit), TARGETS)["cls"] for logit in (-8.0, -9.0)
    )
    ratio = torch.tensor([-8.0, -9.0]).sigmoid()
    torch.testing.assert_close(faint / fainter, ratio[0] / ratio[1])


def test_logits_do_not_depend_on_the_labels() -> None:
    loss = logits.Loss(logits.Config(), pair())
    student, teacher = view(6, 0), view(6, 1)
    torch.testing.assert_close(
        total(loss(student, teacher, TARGETS)), total(loss(student, teacher, NO_TARGETS))
    )


def test_a_bernoulli_divergence_is_the_textbooks() -> None:
    p, q = 0.8, 0.3
    wanted = p * torch.log(torch.tensor(p / q)) + (1 - p) * torch.log(torch.tensor((1 - p) / (1 - q)))
    student, teacher = (torch.logit(torch.tensor(value)) for value in (q, p))
    torch.testing.assert_close(logits.bernoulli_divergence(student, teacher, 1.0), wanted)


def test_extreme_logits_stay_finite() -> None:
    far = torch.tensor([-200.0, 200.0])
    assert torch.isfinite(logits.bernoulli_divergence(far, -far, 1.0)).all()


def test_each_gain_has_its_own_columns() -> None:
    student, teacher = view(6, 0), view(6, 1)
    loss = logits.Loss(logits.Config(obj=0, cls=0, box=1), pair())
    total(loss(student, teacher, TARGETS)).backward()
    for level in student.raw:
        assert level.grad is not None
        assert level.grad[..., :4].any()
        assert not level.grad[..., 4:].any()
