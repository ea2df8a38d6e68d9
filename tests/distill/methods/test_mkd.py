"""MKD: pooled maps, masks of frequencies, channels; figures from the formulas, not from the code."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from distill.method import NetworkOutputs, StudentTeacherInfo
from distill.methods import cwd, mkd, pkd
from distill.methods._maps import correlation_distance

OneLevel = Callable[..., StudentTeacherInfo]
NO_TARGETS = torch.zeros(0, 6)
SIZES = [(15, 15), (15, 16), (16, 15), (20, 20), (10, 7), (1, 3), (2, 2)]
ONLY_MASKED: dict[str, Any] = {"multi_scale": 0, "alignment": 0, "adapter": "identity"}


def maps(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def terms(pair: StudentTeacherInfo, student: Tensor, teacher: Tensor, **settings: Any) -> dict[str, Tensor]:
    loss = mkd.Loss(mkd.Config(**{"adapter": "identity", **settings}), pair)
    return loss(NetworkOutputs({"p3": student}, []), NetworkOutputs({"p3": teacher}, []), NO_TARGETS)


def whole(half: Tensor, width: int) -> Tensor:
    """The mask of all frequencies that a mask of the half spectrum stands for, with M(-k) = M(k)."""
    mirrored = half.roll(-1, 2).flip(2)  # M(-ky, kx)
    return torch.cat((half, mirrored[..., 1 : (width + 1) // 2].flip(-1)), -1)


def half_spectra(seed: int, size: tuple[int, int], zeta: float = 0.5, count: int = 3) -> Tensor:
    torch.manual_seed(seed)
    return mkd.frequency_mask(count, size, zeta, keep_dc=False)


# --- the mask


@pytest.mark.parametrize("size", SIZES)
def test_a_mask_is_that_of_real_values_for_every_size(size: tuple[int, int]) -> None:
    x, half = maps(0, 3, 2, *size), half_spectra(1, size)
    left = torch.fft.ifft2(whole(half, size[1]) * torch.fft.fft2(x))
    assert left.imag.abs().max() < 1e-5
    torch.testing.assert_close(mkd.drop_frequencies(x, half), left.real, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_what_the_mask_left_is_left_by_the_same_mask(size: tuple[int, int]) -> None:
    half = half_spectra(1, size)
    once = mkd.drop_frequencies(maps(0, 3, 2, *size), half)
    torch.testing.assert_close(mkd.drop_frequencies(once, half), once, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("width", "mirrored"), [(8, [True, False, False, False, True]), (9, [True] + 4 * [False])]
)
def test_only_columns_that_hold_both_k_and_minus_k_are_mirrored(width: int, mirrored: list[bool]) -> None:
    half = half_spectra(0, (32, width))
    turned = half.roll(-1, 2).flip(2)
    assert [torch.equal(half[..., c], turned[..., c]) for c in range(width // 2 + 1)] == mirrored


def test_masks_are_zeros_and_ones_in_the_share_asked_for() -> None:
    half = half_spectra(0, (64, 64), zeta=0.25, count=8)
    assert set(half.unique().tolist()) == {0.0, 1.0}
    assert float(half.mean()) == pytest.approx(0.75, abs=0.02)


@pytest.mark.parametrize("zeta", [0.5, 1.0])
def test_the_mean_of_a_channel_can_be_kept(zeta: float) -> None:
    x = maps(0, 4, 3, 8, 8) + 5
    left = mkd.drop_frequencies(x, mkd.frequency_mask(4, (8, 8), zeta, keep_dc=True))
    torch.testing.assert_close(left.mean((2, 3)), x.mean((2, 3)))
    assert zeta < 1 or float(left.std((2, 3)).max()) < 1e-5


def test_masks_come_from_the_global_generator() -> None:
    assert torch.equal(half_spectra(3, (8, 8)), half_spectra(3, (8, 8)))
    assert not torch.equal(half_spectra(3, (8, 8)), half_spectra(4, (8, 8)))


def test_every_forward_draws_another_mask(one_level: OneLevel) -> None:
    student, teacher = maps(0, 1, 2, 8, 8), maps(1, 1, 2, 8, 8)
    loss = mkd.Loss(mkd.Config(**ONLY_MASKED), one_level(2))
    torch.manual_seed(0)
    first, second = (
        loss(NetworkOutputs({"p3": student}, []), NetworkOutputs({"p3": teacher}, []), NO_TARGETS)
        for _ in "12"
    )
    torch.manual_seed(0)
    again = loss(NetworkOutputs({"p3": student}, []), NetworkOutputs({"p3": teacher}, []), NO_TARGETS)
    assert float(first["masked"]) != float(second["masked"])
    assert float(first["masked"]) == float(again["masked"])


@pytest.mark.parametrize(("mask_per", "same"), [("image", False), ("batch", True)])
def test_images_share_a_mask_only_if_asked_to(one_level: OneLevel, mask_per: str, same: bool) -> None:
    student = maps(0, 1, 2, 8, 8).repeat(2, 1, 1, 1).requires_grad_()
    terms(one_level(2), student, torch.zeros(2, 2, 8, 8), **ONLY_MASKED, mask_per=mask_per)[
        "masked"
    ].backward()
    assert student.grad is not None
    assert torch.equal(student.grad[0], student.grad[1]) is same


# --- what the masked term asks for


def best_scale(masked: Tensor, teacher: Tensor) -> float:
    """The a for which a * (masked teacher) comes closest to the teacher."""
    return float((masked * teacher).sum() / masked.square().sum())


@pytest.mark.parametrize("zeta", [0.25, 0.5, 0.75])
def test_a_student_is_drawn_to_the_teachers_own_scale(zeta: float) -> None:
    teacher = maps(0, 16, 8, 32, 32)
    half = mkd.frequency_mask(16, (32, 32), zeta, keep_dc=True)
    assert best_scale(mkd.drop_frequencies(teacher, half), teacher) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(("zeta", "scale"), [(0.25, 1.143), (0.5, 1.333), (0.75, 1.600)])
def test_a_mask_without_symmetry_would_draw_it_to_another(zeta: float, scale: float) -> None:
    def naive(x: Tensor) -> Tensor:
        mask = (torch.rand(len(x), 1, *x.shape[2:]) >= zeta).float()
        return torch.fft.ifft2(mask * torch.fft.fft2(x))

    torch.manual_seed(0)
    teacher = maps(0, 64, 8, 32, 32)
    left = naive(teacher)
    assert best_scale(left.real, teacher) == pytest.approx(scale, rel=0.01)
    assert scale == pytest.approx(2 / (2 - zeta), abs=1e-3)
    if zeta == 0.5:
        share = left.imag.square().sum() / left.abs().square().sum()
        assert float(share) == pytest.approx(0.25, abs=0.02)  # the energy of what should be real


def test_equal_sides_cost_the_energy_that_was_dropped(one_level: OneLevel) -> None:
    x = maps(0, 2, 3, 8, 10)
    torch.manual_seed(0)
    value = terms(one_level(3), x, x, **ONLY_MASKED, keep_dc=False)["masked"]
    dropped = 1 - whole(half_spectra(0, (8, 10), count=2), 10)
    energy = (dropped * torch.fft.fft2(x).abs().square()).sum() / (8 * 10)
    torch.testing.assert_close(value, energy / x.numel())


def test_equal_sides_cost_nothing_against_a_masked_target(one_level: OneLevel) -> None:
    x = maps(0, 2, 3, 8, 10)
    assert float(terms(one_level(3), x, x, **ONLY_MASKED, target="masked")["masked"]) == 0


def test_without_a_generator_both_targets_teach_the_same(one_level: OneLevel) -> None:
    grads = []
    for target in ("full", "masked"):
        torch.manual_seed(0)
        student = maps(0, 2, 3, 9, 10).requires_grad_()
        terms(one_level(3), student, maps(1, 2, 3, 9, 10), **ONLY_MASKED, target=target)["masked"].backward()
        grads.append(student.grad)
    torch.testing.assert_close(*grads, rtol=0, atol=1e-7)


def test_with_a_generator_the_targets_differ(one_level: OneLevel) -> None:
    values = []
    for target in ("full", "masked"):
        torch.manual_seed(0)
        pair = one_level(3)
        values.append(terms(pair, maps(0, 2, 3, 8, 8), maps(1, 2, 3, 8, 8), generator=True, target=target))
    assert not torch.equal(values[0]["masked"], values[1]["masked"])


def test_nothing_dropped_is_the_mean_squared_difference(one_level: OneLevel) -> None:
    student, teacher = maps(0, 2, 3, 15, 15), maps(1, 2, 3, 15, 15)
    value = terms(one_level(3), student, teacher, **ONLY_MASKED, zeta=0.0)["masked"]
    torch.testing.assert_close(value, F.mse_loss(student, teacher))


def test_everything_dropped_teaches_nothing(one_level: OneLevel) -> None:
    student, teacher = maps(0, 2, 3, 15, 15).requires_grad_(), maps(1, 2, 3, 15, 15)
    value = terms(one_level(3), student, teacher, **ONLY_MASKED, zeta=1.0, keep_dc=False)["masked"]
    value.backward()
    torch.testing.assert_close(value.detach(), teacher.square().mean())
    assert student.grad is not None
    assert not student.grad.any()


def test_half_precision_maps_are_transformed_in_float32() -> None:
    left = mkd.drop_frequencies(maps(0, 1, 1, 4, 5).half(), half_spectra(0, (4, 5), count=1))
    assert left.dtype == torch.float32


# --- scales


def test_pooled_differences_are_those_of_the_formula() -> None:
    a = torch.zeros(1, 2, 4, 4)
    b = torch.zeros(1, 2, 4, 4)
    b[0, 0, 0, 0], b[0, 1, 3, 3] = 4.0, 8.0
    # squares: k 1: 16 + 64; k 2: 1 + 4; k 4: (4/16)^2 + (8/16)^2
    by_sum = (80 + 5 + 0.3125) / 16
    by_mean = 80 / 32 + 5 / 8 + 0.3125 / 2
    assert float(mkd.pooled_distance(a, b, (1, 2, 4), "paper")) == pytest.approx(by_sum)
    assert float(mkd.pooled_distance(a, b, (1, 2, 4), "mean")) == pytest.approx(by_mean)


def test_coarser_scales_cost_no_more() -> None:
    a, b = maps(0, 2, 3, 16, 16), maps(1, 2, 3, 16, 16)
    costs = [float(mkd.pooled_distance(a, b, (k,), "mean")) for k in (1, 2, 4, 8)]
    assert costs == sorted(costs, reverse=True)
    assert float(mkd.pooled_distance(a, b, (1, 2, 4), "mean")) <= 3 * costs[0]


@pytest.mark.parametrize("size", [(10, 10), (3, 2), (1, 1)])
def test_cells_at_an_edge_that_does_not_fill_a_window_count(size: tuple[int, int]) -> None:
    a, b = torch.zeros(1, 1, *size), torch.zeros(1, 1, *size)
    b[0, 0, -1, -1] = 1
    assert float(mkd.pooled_distance(a, b, (4,), "mean")) > 0


# --- the whole


def test_parts_are_those_of_their_own_methods(one_level: OneLevel) -> None:
    pair, student, teacher = one_level(3), maps(0, 2, 3, 8, 8), maps(1, 2, 3, 8, 8)
    parts = terms(pair, student, teacher, feature="pkd", temperature=2.0)
    views = NetworkOutputs({"p3": student}, []), NetworkOutputs({"p3": teacher}, [])
    plain = cwd.Config(normalise=False, temperature=2.0, adapter="identity")
    torch.testing.assert_close(parts["alignment"], cwd.Loss(plain, pair)(*views, NO_TARGETS)["p3"])
    pearson = pkd.Loss(pkd.Config(weight=1.0, adapter="identity"), pair)(*views, NO_TARGETS)["p3"]
    torch.testing.assert_close(parts["feature"], pearson)
    mse = terms(pair, student, teacher, feature="mse")["feature"]
    torch.testing.assert_close(mse, F.mse_loss(student, teacher))


def test_each_part_has_its_own_weight(one_level: OneLevel) -> None:
    def of(**weights: float) -> dict[str, Tensor]:
        torch.manual_seed(0)
        return terms(one_level(3), maps(0, 2, 3, 8, 8), maps(1, 2, 3, 8, 8), **weights)

    once = of()
    assert set(once) == {"multi_scale", "masked", "alignment"}
    for part in once:
        assert set(of(**{part: 0})) == set(once) - {part}
        twice = of(**{part: 2})
        for name, value in twice.items():
            torch.testing.assert_close(value, once[name] * (2 if name == part else 1))


def test_levels_are_averaged() -> None:
    pair = StudentTeacherInfo(
        student_channels={"p3": 2, "p4": 2},
        teacher_channels={"p3": 2, "p4": 2},
        strides=(8, 16),
        anchors_px=(),
        nc=1,
        input_hw=(64, 64),
    )
    student, teacher = maps(0, 1, 2, 4, 4), maps(1, 1, 2, 4, 4)
    sides = (
        NetworkOutputs({"p3": student, "p4": teacher}, []),
        NetworkOutputs({"p3": teacher, "p4": teacher}, []),
    )
    only = mkd.Config(masked=0, alignment=0, adapter="identity")
    (value,) = mkd.Loss(only, pair)(*sides, NO_TARGETS).values()
    torch.testing.assert_close(value, mkd.pooled_distance(student, teacher, (1, 2, 4), "mean") / 2)


@pytest.mark.parametrize(("masked", "generator", "layers"), [(1, True, 4), (0, True, 0), (1, False, 0)])
def test_a_generator_is_trained_only_where_it_is_used(
    one_level: OneLevel, masked: float, generator: bool, layers: int
) -> None:
    loss = mkd.Loss(mkd.Config(masked=masked, generator=generator), one_level(2, 3))
    assert len(list(loss.rebuild.parameters())) == layers
    loss_terms = loss(
        NetworkOutputs({"p3": maps(0, 2, 2, 8, 8)}, []),
        NetworkOutputs({"p3": maps(1, 2, 3, 8, 8)}, []),
        NO_TARGETS,
    )
    torch.stack(list(loss_terms.values())).sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in loss.parameters())


def test_true_boxes_make_no_difference(one_level: OneLevel) -> None:
    loss = mkd.Loss(mkd.Config(), one_level(2))
    views = NetworkOutputs({"p3": maps(0, 1, 2, 8, 8)}, []), NetworkOutputs({"p3": maps(1, 1, 2, 8, 8)}, [])
    values = []
    for targets in (NO_TARGETS, torch.tensor([[0, 1, 0.5, 0.5, 0.2, 0.2]])):
        torch.manual_seed(0)
        values.append(loss(*views, targets))
    for part, value in values[0].items():
        assert torch.equal(value, values[1][part])


# --- the text's reading of alignment: correlations of the channels


def correlations(maps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pearson's r of every two channels of ``[B, C, h, w]``, pair by pair, from its definition."""
    batch, channels = maps.shape[:2]
    found = np.zeros((batch, channels, channels))
    for image in range(batch):
        for i, j in product(range(channels), repeat=2):
            a, b = maps[image, i].ravel(), maps[image, j].ravel()
            covariance = sum((x - a.mean()) * (y - b.mean()) for x, y in zip(a, b, strict=True)) / len(a)
            found[image, i, j] = covariance / (a.std() * b.std())
    return found


def aligned(student: Tensor, teacher: Tensor, pair: StudentTeacherInfo) -> Tensor:
    settings: dict[str, Any] = {"multi_scale": 0, "masked": 0, "align_by": "correlation"}
    (value,) = terms(pair, student, teacher, **settings).values()
    return value


def test_aligned_correlations_are_those_of_the_definition(one_level: OneLevel) -> None:
    student, teacher = maps(0, 2, 4, 5, 6), 3 * maps(1, 2, 4, 5, 6) - 2
    theirs, ours = (correlations(x.double().numpy()) for x in (teacher, student))
    np.testing.assert_allclose(ours[0], np.corrcoef(student[0].reshape(4, -1)), atol=1e-6)
    value = float(aligned(student, teacher, one_level(4)))
    assert value == pytest.approx(np.mean((theirs - ours) ** 2), rel=1e-4)


def test_two_channels_that_agree_and_two_that_oppose() -> None:
    ramp = torch.arange(6.0).view(1, 1, 2, 3)
    agree, oppose = torch.cat((ramp, ramp), 1), torch.cat((ramp, -ramp), 1)
    # r is 1 on the diagonal of both; beside it 1 and -1, so two of four squares are 4
    assert float(correlation_distance(agree, oppose)) == pytest.approx(2, abs=1e-4)


def test_scale_and_mean_of_a_channel_do_not_change_its_correlations(one_level: OneLevel) -> None:
    student, teacher = maps(0, 2, 3, 8, 8), maps(1, 2, 3, 8, 8)
    moved = (
        student * torch.tensor([0.5, 2.0, 7.0])[:, None, None] + torch.tensor([1.0, -4.0, 0.0])[:, None, None]
    )
    before, after = (float(aligned(x, teacher, one_level(3))) for x in (student, moved))
    assert after == pytest.approx(before, rel=1e-3)
    assert float(aligned(moved, student, one_level(3))) == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("size", [(1, 1), (4, 4)])
def test_constant_channels_have_no_correlation_and_a_finite_gradient(
    one_level: OneLevel, size: tuple[int, int]
) -> None:
    student = torch.full((2, 3, *size), 5.0, requires_grad=True)
    value = aligned(student, maps(1, 2, 3, *size), one_level(3))
    value.backward()
    assert value.isfinite()
    assert student.grad is not None
    assert student.grad.isfinite().all()
