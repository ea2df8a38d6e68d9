"""FGD: masks and attentions by hand, the block that starts as nothing, the sum of the formula."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from distill.method import NetworkOutputs, StudentTeacherInfo
from distill.methods import fgd
from distill.methods._maps import channel_attention, spatial_attention

OneLevel = Callable[..., StudentTeacherInfo]
NO_TARGETS = torch.zeros(0, 6)


def maps(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def boxes(*corners: tuple[int, float, float, float, float], grid: tuple[int, int]) -> Tensor:
    """Targets from image, x1, y1, x2, y2 in cells."""
    height, width = grid
    return torch.tensor(
        [
            [i, 0, (a + c) / 2 / width, (b + d) / 2 / height, (c - a) / width, (d - b) / height]
            for i, a, b, c, d in corners
        ]
    )


def terms(pair: StudentTeacherInfo, student: Tensor, teacher: Tensor, targets: Tensor) -> dict[str, Tensor]:
    loss = fgd.Loss(fgd.Config(adapter="identity"), pair)
    values = loss(NetworkOutputs({"p3": student}, []), NetworkOutputs({"p3": teacher}, []), targets)
    return {name: value.detach() for name, value in values.items()}


# --- masks


def test_an_object_weighs_one_over_its_area_and_the_rest_one_together() -> None:
    fg, bg = fgd.object_masks(
        boxes(
            (
                0,
                1.2,
                2.5,
                2.9,
                2.9,
            ),
            grid=(6, 8),
        ),
        2,
        (6, 8),
    )
    wanted = torch.zeros(6, 8)
    wanted[2:4, 1:4] = 1 / 6  # floor of the low, ceil of the high corner, both included: 3 columns, 2 rows
    torch.testing.assert_close(fg[0], wanted)
    assert not fg[1].any()
    torch.testing.assert_close(bg[0], (wanted == 0) / (48.0 - 6))
    torch.testing.assert_close(bg[1], torch.full((6, 8), 1 / 48))


def test_where_objects_overlap_the_smaller_one_counts() -> None:
    small, large = (0, 2.1, 2.1, 2.9, 2.9), (0, 0.1, 0.1, 6.9, 6.9)
    for order in ((small, large), (large, small), (small, large, small)):
        fg, _ = fgd.object_masks(boxes(*order, grid=(8, 8)), 1, (8, 8))
        assert float(fg[0, 2, 2]) == pytest.approx(1 / 4)
        assert float(fg[0, 5, 5]) == pytest.approx(1 / 64)


def test_masks_are_not_transposed() -> None:
    fg, _ = fgd.object_masks(boxes((0, 10.1, 40.1, 12.9, 50.9), grid=(80, 80)), 1, (80, 80))
    lit = fg[0].nonzero().float()
    assert lit.mean(0).tolist() == [45.5, 11.5]  # rows first


def test_an_object_as_large_as_the_image_leaves_nothing_beside_it(one_level: OneLevel) -> None:
    whole = torch.tensor([[0, 1, 0.5, 0.5, 1.0, 1.0]])
    fg, bg = fgd.object_masks(whole, 1, (4, 4))
    assert torch.equal(fg, torch.full((1, 4, 4), 1 / 25))  # counted in cells 0 to 4, as in the reference
    assert not bg.any()
    values = terms(one_level(2), maps(0, 1, 2, 4, 4), maps(1, 1, 2, 4, 4), whole)
    assert float(values["bg"]) == 0
    assert all(torch.isfinite(value) for value in values.values())


def test_without_objects_all_is_background(one_level: OneLevel) -> None:
    values = terms(one_level(2), maps(0, 2, 2, 4, 4), maps(1, 2, 2, 4, 4), NO_TARGETS)
    assert float(values["fg"]) == 0
    assert float(values["bg"]) > 0
    assert all(torch.isfinite(value) for value in values.values())


# --- attention


def test_attentions_add_up_to_the_number_of_cells_and_of_channels() -> None:
    some = maps(0, 3, 5, 4, 6).abs()
    torch.testing.assert_close(spatial_attention(some, 0.5).sum((1, 2)), torch.full((3,), 24.0))
    torch.testing.assert_close(channel_attention(some, 0.5).sum(1), torch.full((3,), 5.0))


def test_a_temperature_spreads_attention() -> None:
    some = maps(0, 1, 5, 4, 6).abs()
    assert spatial_attention(some, 0.1).max() > spatial_attention(some, 1.0).max()
    assert channel_attention(some, 0.1).max() > channel_attention(some, 1.0).max()


def test_attention_follows_magnitude() -> None:
    some = torch.zeros(1, 2, 2, 2)
    some[0, 1, 0, 1] = 4.0
    assert spatial_attention(some, 0.5).argmax() == 1
    assert channel_attention(some, 0.5).argmax() == 1


# --- the whole


def test_terms_are_those_of_the_formula(one_level: OneLevel) -> None:
    student, teacher = maps(0, 2, 3, 4, 5), maps(1, 2, 3, 4, 5)
    targets = boxes((0, 1.1, 0.1, 2.9, 1.9), (1, 0.1, 0.1, 0.9, 0.9), grid=(4, 5))
    fg = bg = attention = relation = 0.0
    masks = fgd.object_masks(targets, 2, (4, 5))
    for i in range(2):
        cells = {
            k: 20 * (m[i].abs().mean(0) / 0.5).flatten().softmax(0)
            for k, m in zip("st", (student, teacher), strict=True)
        }
        channels = {
            k: 3 * (m[i].abs().mean((1, 2)) / 0.5).softmax(0)
            for k, m in zip("st", (student, teacher), strict=True)
        }
        squares = (teacher[i] - student[i]) ** 2
        weighed = squares * cells["t"].view(1, 4, 5) * channels["t"].view(3, 1, 1)
        fg += float((masks[0][i] * weighed).sum())
        bg += float((masks[1][i] * weighed).sum())
        attention += float(
            (cells["s"] - cells["t"]).abs().sum() + (channels["s"] - channels["t"]).abs().sum()
        )
        relation += float(squares.sum())  # the blocks add nothing yet
    values = terms(one_level(3), student, teacher, targets)
    assert float(values["fg"]) == pytest.approx(1e-3 * fg / 2, rel=1e-5)
    assert float(values["bg"]) == pytest.approx(5e-4 * bg / 2, rel=1e-5)
    assert float(values["attention"]) == pytest.approx(5e-4 * attention / 2, rel=1e-5)
    assert float(values["relation"]) == pytest.approx(5e-6 * relation / 2, rel=1e-5)


def test_a_block_adds_what_its_map_says() -> None:
    block = fgd.GlobalContext(4)
    assert not block(maps(0, 2, 4, 3, 3)).any()
    torch.nn.init.eye_(block.say[-1].weight[:, :])
    some = maps(0, 1, 4, 3, 3)
    added = block(some)
    assert added.shape == (1, 4)
    assert added.any()
    # A sum over cells: where they lie makes no difference.
    torch.testing.assert_close(block(some.flip(2).roll(1, 3)), added)


def test_attention_costs_only_where_the_networks_look_elsewhere(one_level: OneLevel) -> None:
    teacher = maps(0, 1, 3, 4, 4)
    values = terms(one_level(3), -teacher, teacher, NO_TARGETS)  # as strong, and opposite
    assert float(values["attention"]) == 0
    assert float(values["relation"]) > 0
