"""Region distillation: regions, formulas and temperatures, on both kinds of head."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from distill.method import NetworkOutputs, StudentTeacherInfo
from distill.methods import region
from distill.methods._divergence import bernoulli, categorical
from distill.recipe import MethodConfig, Recipe
from distill.train import train
from edgestill.errors import UsageError

MakeView = Callable[..., NetworkOutputs]
MakePair = Callable[..., StudentTeacherInfo]
NO_TARGETS = torch.zeros(0, 6)
HEADS = ("coupled", "dfl")
#: Every setting that changes a formula, on each head that has it.
FORMULAS = [
    (head, {"box": box, "mode": mode, "reduction": reduction})
    for head, box, mode, reduction in product(
        HEADS, ("ld", "soft_bins", "iou"), ("yolo", "atss"), ("normalised", "reference")
    )
    if (head, box) != ("dfl", "soft_bins")
]


def total(terms: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(terms.values())).sum()


def fitting(view: NetworkOutputs) -> NetworkOutputs:
    """The same, but a ``dfl`` head predicts a box of 4 cells everywhere, for task alignment to find."""
    for level in view.raw if view.head == "dfl" else ():
        level.data[..., 2:64:16] += 6.0
    return view


@pytest.fixture
def sides(make_view: MakeView) -> Callable[[str], tuple[NetworkOutputs, NetworkOutputs]]:
    return lambda head: (make_view(head, 0), fitting(make_view(head, 1)))


@pytest.fixture
def terms(sides: Any, make_pair: MakePair, targets: Tensor) -> Callable[..., dict[str, Tensor]]:
    """The terms of two random sides under some settings."""

    def make(
        head: str, of: tuple[NetworkOutputs, NetworkOutputs] | None = None, **settings: Any
    ) -> dict[str, Tensor]:
        loss = region.Loss(region.Config(**settings), make_pair(head))
        return loss(*(of or sides(head)), targets)

    return make


# --- what holds for every formula


@pytest.mark.parametrize(("head", "settings"), FORMULAS)
def test_equal_sides_cost_nothing(head: Any, settings: Any, sides: Any, make_pair: Any, targets: Any) -> None:
    _, both = sides(head)
    loss = region.Loss(region.Config(**settings), make_pair(head))
    value = total(loss(both, both, targets))
    value.backward()
    assert float(value.detach()) == pytest.approx(0, abs=1e-5)
    assert all(level.grad.abs().max() < 1e-5 for level in both.raw)


@pytest.mark.parametrize(("head", "settings"), FORMULAS)
def test_other_sides_cost_something_on_each_part(head: Any, settings: Any, terms: Any) -> None:
    assert all(float(value.detach()) > 1e-4 for value in terms(head, **settings).values())


@pytest.mark.parametrize(("head", "settings"), FORMULAS)
def test_without_objects_it_is_nothing_with_a_graph(
    head: Any, settings: Any, sides: Any, make_pair: Any
) -> None:
    student, teacher = sides(head)
    value = total(region.Loss(region.Config(**settings), make_pair(head))(student, teacher, NO_TARGETS))
    value.backward()
    assert float(value.detach()) == 0.0
    assert not any(level.grad.any() for level in student.raw)


@pytest.mark.parametrize(("head", "settings"), FORMULAS)
def test_an_image_without_objects_changes_nothing(
    head: Any, settings: Any, sides: Any, make_pair: Any, targets: Tensor
) -> None:
    student, teacher = sides(head)
    loss, first = region.Loss(region.Config(**settings), make_pair(head)), targets[:1]
    alone = [NetworkOutputs({}, [level[:1] for level in of.raw], of.head) for of in (student, teacher)]
    torch.testing.assert_close(total(loss(*alone, first)), total(loss(student, teacher, first)))


@pytest.mark.parametrize(("head", "settings"), FORMULAS)
def test_a_batch_twice_as_long_costs_the_same_or_twice_the_localisation(
    head: Any, settings: Any, sides: Any, make_pair: Any, targets: Tensor
) -> None:
    loss = region.Loss(region.Config(**settings), make_pair(head))
    again = targets.clone()
    again[:, 0] += 2
    once = loss(*sides(head), targets)
    doubled = [NetworkOutputs({}, [torch.cat((r, r)) for r in of.raw], of.head) for of in sides(head)]
    twice = loss(*doubled, torch.cat((targets, again)))
    for name, value in once.items():
        factor = 2 if settings["reduction"] == "reference" and name in {"kdr", "elr"} else 1
        torch.testing.assert_close(twice[name], factor * value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("head", HEADS)
def test_what_lies_outside_of_the_regions_is_not_looked_at(
    head: Any, sides: Any, make_pair: Any, targets: Tensor
) -> None:
    loss = region.Loss(region.Config(mode="atss"), make_pair(head))
    student, teacher = sides(head)
    key, ring = loss._regions(teacher, targets)
    moved = [
        level + 9 * ((k == 0) & (r == 0))[..., None]
        for level, k, r in zip(student.raw, key, ring, strict=True)
    ]
    torch.testing.assert_close(
        total(loss(NetworkOutputs({}, moved, head), teacher, targets)), total(loss(student, teacher, targets))
    )


@pytest.mark.parametrize(("head", "mode"), list(product(HEADS, ("yolo", "atss"))))
def test_key_region_and_ring_share_nothing(
    head: Any, mode: Any, sides: Any, make_pair: Any, targets: Tensor
) -> None:
    loss = region.Loss(region.Config(mode=mode, gamma=0.05), make_pair(head))
    key, ring = loss._regions(sides(head)[1], targets)
    assert not any(((k > 0) & (r > 0)).any() for k, r in zip(key, ring, strict=True))
    assert any(k.any() for k in key)
    assert any(r.any() for r in ring)


@pytest.mark.parametrize("head", HEADS)
def test_classes_count_on_the_key_region_alone(
    head: Any, terms: Any, sides: Any, make_pair: Any, targets: Any
) -> None:
    student, teacher = sides(head)
    loss = region.Loss(region.Config(), make_pair(head))
    key, ring = loss._regions(teacher, targets)
    out = loss(student, teacher, targets)
    (out["cls"] + out.get("obj", 0)).backward()
    for level, k in zip(student.raw, key, strict=True):
        assert not level.grad[k == 0].any()
        assert not level.grad[..., :4].any()
        level.grad = None
    (loss(student, teacher, targets)["elr"]).backward()
    for level, r in zip(student.raw, ring, strict=True):
        assert not level.grad[r == 0].any()
        assert not level.grad[..., 64 if head == "dfl" else 4 :].any()


# --- temperature


@pytest.mark.parametrize(("compensate", "wanted", "within"), [(True, 1.0, 1e-3), (False, 3.24, 1e-2)])
def test_temperature_is_a_weight_in_disguise_or_nothing(
    compensate: bool, wanted: float, within: float, make_view: MakeView, make_pair: MakePair, targets: Tensor
) -> None:
    """Of 45 against 25, for logits of standard deviation 2; (45 / 25)^2 = 3.24."""
    sides = [
        NetworkOutputs({}, [2 * level.detach() for level in make_view("dfl", seed, batch=8).raw], "dfl")
        for seed in (0, 1)
    ]
    mild, hot = (
        region.Loss(
            region.Config(mode="atss", gamma=0.05, temperature=(t, t), compensate=compensate),
            make_pair("dfl"),
        )(*sides, targets)["elr"]
        for t in (25.0, 45.0)
    )
    assert float(mild / hot) == pytest.approx(wanted, rel=within)


def test_a_high_temperature_is_a_squared_distance_of_centred_logits() -> None:
    random = torch.Generator().manual_seed(0)
    s, t = (2 * torch.randn(4, 16, generator=random, dtype=torch.float64) for _ in range(2))
    d = s - t
    limit = (d - d.mean(-1, keepdim=True)).square().sum(-1) / (2 * 16)
    torch.testing.assert_close(45**2 * categorical(s, t, 45.0), limit, rtol=5e-2, atol=0)
    torch.testing.assert_close(1e8 * categorical(s, t, 1e4), limit, rtol=1e-3, atol=0)


@pytest.mark.parametrize(
    ("course", "done", "wanted"),
    [
        ((25.0, 45.0), 0.0, 25),
        ((25.0, 45.0), 0.25, 25 + 20 * (1 - 0.5**0.5) / 2),
        ((25.0, 45.0), 0.5, 35),
        ((25.0, 45.0), 1.0, 45),
        ((45.0, 25.0), 0.5, 35),
        ((45.0, 25.0), 1.0, 25),
        ((10.0, 10.0), 0.3, 10),
    ],
)
def test_the_temperature_follows_half_a_cosine(
    course: Any, done: float, wanted: float, make_pair: MakePair
) -> None:
    loss = region.Loss(region.Config(temperature=course), make_pair())
    loss.set_progress(done)
    assert loss.temperature == pytest.approx(wanted)


def test_the_course_of_the_temperature_reaches_the_loss(
    sides: Any, make_pair: MakePair, targets: Tensor
) -> None:
    loss = region.Loss(region.Config(temperature=(1.0, 40.0), compensate=False), make_pair("dfl"))
    first = loss(*sides("dfl"), targets)
    loss.set_progress(1.0)
    last = loss(*sides("dfl"), targets)
    assert float(last["kdr"].detach()) < float(first["kdr"].detach()) / 100
    torch.testing.assert_close(last["cls"], first["cls"])  # it has its own


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_the_training_loop_moves_the_temperature(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached, forward = [], region.Loss.forward

    def watched(loss: region.Loss, *views: Any) -> Any:
        reached.append(loss.temperature)
        return forward(loss, *views)

    monkeypatch.setattr(region.Loss, "forward", watched)
    term = MethodConfig(config=region.Config(temperature=(25.0, 45.0)))
    result = train(replace(recipe, methods={"region": term}, epochs=2, eval_every=2), tmp_path / "run")
    assert sorted(set(reached)) == pytest.approx([25, 35])  # before each of two epochs
    assert result["epochs"] == 2
    header, *_ = (tmp_path / "run" / "history.csv").read_text().splitlines()
    assert {"region_cls", "region_obj", "region_kdr", "region_elr"} <= set(header.split(","))


def test_a_temperature_of_zero_is_refused(make_pair: MakePair) -> None:
    with pytest.raises(UsageError, match="temperature"):
        region.Loss(region.Config(temperature=(10.0, 0.0)), make_pair())


# --- localisation


def test_a_shift_of_all_bins_of_a_side_changes_nothing(terms: Any, sides: Any) -> None:
    student, teacher = sides("dfl")
    shifted = [level.detach().clone() for level in student.raw]
    for level in shifted:
        level[..., 16:32] += 5.0
    once, twice = terms("dfl"), terms("dfl", (NetworkOutputs({}, shifted, "dfl"), teacher))
    for name, value in once.items():
        torch.testing.assert_close(twice[name], value)


@pytest.mark.parametrize(("head", "box", "bins"), [("dfl", "ld", 16), ("coupled", "soft_bins", 17)])
def test_the_reference_takes_the_mean_over_the_bins(
    head: Any, box: Any, bins: int, terms: Any, make_pair: Any, sides: Any, targets: Tensor
) -> None:
    key, ring = region.Loss(region.Config(), make_pair(head))._regions(sides(head)[1], targets)
    mean, added = (terms(head, box=box, reduction=r) for r in ("normalised", "reference"))
    count, overlap = (sum(float(level.sum()) for level in of) for of in (key, ring))
    torch.testing.assert_close(added["kdr"] * bins, mean["kdr"] * count)
    torch.testing.assert_close(added["elr"] * bins * 4, mean["elr"] * overlap)


def test_soft_bins_are_a_squared_distance() -> None:
    u = torch.tensor([0.5, 0.52])
    logits = region.soft_bins(u.logit().double(), 16, 0.0625)
    for temperature, wanted in ((1.0, 0.0512), (4.0, 0.2047)):
        value = temperature**2 * categorical(logits[1], logits[0], temperature)
        assert float(value) == pytest.approx(wanted, rel=2e-3)
        assert float(value) == pytest.approx(temperature * 0.02**2 / (2 * 0.0625**2), rel=2e-3)


def test_an_anchor_heads_coordinates_are_bernoulli_distributions(
    terms: Any, make_pair: Any, sides: Any, targets: Tensor
) -> None:
    student, teacher = sides("coupled")
    key, _ = region.Loss(region.Config(), make_pair())._regions(teacher, targets)
    divergences = [
        100 * bernoulli(s[..., :4], t[..., :4], 10.0)[k > 0]
        for s, t, k in zip(student.raw, teacher.raw, key, strict=True)
    ]
    torch.testing.assert_close(terms("coupled")["kdr"], torch.cat(divergences).mean())


@pytest.mark.parametrize("head", HEADS)
def test_overlap_knows_no_temperature(head: Any, terms: Any) -> None:
    mild, hot = (terms(head, box="iou", temperature=(t, t)) for t in (1.0, 40.0))
    torch.testing.assert_close(mild["kdr"], hot["kdr"])
    assert 0 < float(mild["kdr"].detach()) <= 2


def test_overlap_is_that_of_the_decoded_boxes(make_pair: MakePair) -> None:
    """Student a cell to the right of the teacher: boxes of 4 x 4 cells share 12 of 20, in a hull of 20."""
    target = torch.tensor([[0, 0, 28 / 96, 36 / 64, 32 / 96, 32 / 64]])
    student, teacher = (
        NetworkOutputs({}, [torch.full((1, 1, h, w, 67), -30.0) for h, w in ((8, 12), (4, 6), (2, 3))], "dfl")
        for _ in range(2)
    )
    for of, distances in ((student, (1, 2, 3, 2)), (teacher, (2, 2, 2, 2))):
        for level in of.raw:
            level[..., [side * 16 + bin_ for side, bin_ in enumerate(distances)]] = 30.0
            level[..., 64:] = 0.0
    loss = region.Loss(region.Config(box="iou"), make_pair("dfl"))
    assert float(loss(student, teacher, target)["kdr"]) == pytest.approx(1 - 12 / 20, abs=1e-4)


def test_soft_bins_are_refused_for_a_head_with_bins(make_pair: MakePair) -> None:
    with pytest.raises(UsageError, match="soft_bins"):
        region.Loss(region.Config(box="soft_bins"), make_pair("dfl"))


# --- weights and classes


def test_the_key_region_can_be_weighted_by_confidence(terms: Any, sides: Any) -> None:
    student, teacher = sides("coupled")
    plain = terms("coupled")["kdr"]
    for who, of in (("student", student), ("teacher", teacher)):
        assert float(terms("coupled", kdr_weight=who)["kdr"].detach()) != pytest.approx(float(plain.detach()))
        even = NetworkOutputs({}, [level.detach().clone() for level in of.raw], "coupled")
        for level in even.raw:
            level[..., 4:] = 0.0  # as sure everywhere
        pair = (even, teacher) if who == "student" else (student, even)
        torch.testing.assert_close(terms("coupled", pair, kdr_weight=who)["kdr"], plain)


def test_the_ring_is_weighted_by_overlap_or_not(terms: Any) -> None:
    by_overlap, evenly = (terms("coupled", elr_weight=w)["elr"] for w in ("overlap", "uniform"))
    assert float(by_overlap.detach()) != pytest.approx(float(evenly.detach()))


def test_gamma_one_leaves_no_ring(terms: Any) -> None:
    assert float(terms("coupled", gamma=1.0)["elr"].detach()) == 0.0


def test_one_class_is_taught_by_bernoulli_but_not_by_softmax(
    make_view: MakeView, make_pair: MakePair, targets: Tensor
) -> None:
    targets = targets.clone()
    targets[:, 1] = 0
    student, teacher = make_view("coupled", 0, nc=1), make_view("coupled", 1, nc=1)
    for classes, teacher_outputs in (("bernoulli", True), ("softmax", False)):
        out = region.Loss(region.Config(classes=classes), make_pair(nc=1))(student, teacher, targets)
        assert (float(out["cls"].detach()) > 1e-3) == teacher_outputs


@pytest.mark.parametrize("name", ["cls", "obj", "kdr", "elr"])
def test_each_gain_scales_its_term(name: str, terms: Any) -> None:
    config = region.Config()
    once, thrice = terms("coupled"), terms("coupled", **{name: 3 * getattr(config, name)})
    for other, value in once.items():
        torch.testing.assert_close(thrice[other], (3 if other == name else 1) * value)


def test_a_head_without_objectness_has_no_such_term(terms: Any) -> None:
    assert set(terms("dfl")) == {"cls", "kdr", "elr"}


def test_the_modes_differ(terms: Any) -> None:
    yolo, atss = (terms("coupled", mode=mode)["kdr"] for mode in ("yolo", "atss"))
    assert float(yolo.detach()) != pytest.approx(float(atss.detach()))


def test_the_ratio_of_the_anchors_reaches_the_key_region(terms: Any) -> None:
    narrow, wide = (terms("coupled", anchor_t=ratio)["kdr"] for ratio in (2.0, 4.0))
    assert float(narrow.detach()) != pytest.approx(float(wide.detach()))
