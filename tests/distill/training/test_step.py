"""One step: it learns, teaches only the student, and never takes a step that would spoil the weights."""

from __future__ import annotations

from math import inf, nan
from pathlib import Path

import pytest
import torch

from distill.data.loader import Batch
from distill.models.yolov5 import build
from distill.recipe import Recipe
from distill.recipe_toml import load_recipe
from distill.training.setup import TrainingRun, build_run
from distill.training.step import losses, step
from edgestill.errors import UsageError

CLASSES = ("red", "green")
STRENGTHS = {"cwd": 1.0, "logits": 1.0}


@pytest.fixture
def run(recipe: Recipe, tmp_path: Path) -> TrainingRun:
    return build_run(recipe, tmp_path, CLASSES)


def batch(count: int = 2) -> Batch:
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 255, (count, 64, 64, 3), dtype=torch.uint8, generator=random)
    targets = torch.tensor([[0, 1, 0.5, 0.5, 0.3, 0.3]])
    return Batch(images.permute(0, 3, 1, 2), targets)


def test_steps_on_one_batch_lower_its_loss(run: TrainingRun) -> None:
    for group in run.optimiser.param_groups:
        group["lr"] = 0.01
    totals = [sum(step(run, batch(), STRENGTHS).values()) for _ in range(25)]
    assert totals[-1] < 0.7 * totals[0]


def test_a_step_leaves_the_teacher_as_it_was(run: TrainingRun) -> None:
    assert run.teacher is not None
    before = {name: t.clone() for name, t in run.teacher.model.state_dict().items()}
    step(run, batch(), STRENGTHS)
    after = run.teacher.model.state_dict()
    assert not run.teacher.model.training
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_step_trains_the_adapters(run: TrainingRun) -> None:
    before = [p.clone() for p in run.method_losses.parameters()]
    step(run, batch(), STRENGTHS)
    assert before
    assert all(not torch.equal(a, b) for a, b in zip(before, run.method_losses.parameters(), strict=True))


def test_adapter_weights_decay_and_their_biases_do_not_warm_up_from_a_high_rate(
    recipe: Recipe, tmp_path: Path
) -> None:
    with_bias = load_recipe("traffic-lights", [f"teacher={recipe.teacher}", "methods.fgfi={}"])
    run = build_run(with_bias, tmp_path, CLASSES)
    biases, weights, others = ({id(p) for p in group["params"]} for group in run.optimiser.param_groups)
    for name, parameter in run.method_losses.named_parameters():
        assert id(parameter) in (weights if name.endswith("weight") else others)
    assert len(biases) == sum(name.endswith(".bias") for name, _ in run.model.named_parameters())


def test_the_average_holds_no_adapter(run: TrainingRun) -> None:
    assert set(run.ema.model.state_dict()) == set(build("n", 2).state_dict())


def test_a_term_of_strength_zero_is_not_computed(run: TrainingRun) -> None:
    values = step(run, batch(), {"cwd": 0.0, "logits": 0.0})
    assert set(values) == {"box", "obj", "cls"}


def test_a_batch_without_objects_is_a_step(run: TrainingRun) -> None:
    values = step(run, Batch(batch().images, torch.zeros(0, 6)), STRENGTHS)
    assert values["box"] == 0.0


def weights(run: TrainingRun) -> list[torch.Tensor]:
    return [
        t.clone() for module in (run.model, run.method_losses, run.ema.model) for t in module.parameters()
    ]


def test_a_loss_that_is_not_finite_names_its_part_and_spoils_nothing(run: TrainingRun) -> None:
    before = weights(run)
    run.loss.gain_box = inf
    with pytest.raises(UsageError, match=r"part box is inf in epoch 1, step 1\n  hint: use a lower"):
        step(run, batch(), STRENGTHS)
    assert all(map(torch.equal, before, weights(run)))


def test_a_gradient_that_is_not_finite_spoils_nothing(run: TrainingRun) -> None:
    before = weights(run)
    next(run.model.parameters()).register_hook(lambda gradient: gradient * nan)
    with pytest.raises(UsageError, match="the gradient is nan in epoch 1, step 1"):
        step(run, batch(), STRENGTHS)
    assert all(map(torch.equal, before, weights(run)))


def test_the_way_on_after_a_loss_that_is_not_finite_is_from_the_last_weights(run: TrainingRun) -> None:
    (run.folder / "last").mkdir()
    run.loss.gain_box = nan
    with pytest.raises(UsageError, match=rf"--set student.init={run.folder}/last with another --out"):
        step(run, batch(), STRENGTHS)


def test_unlabelled_images_join_no_detection_loss(run: TrainingRun) -> None:
    alone = batch(1)
    both = Batch(batch().images, torch.tensor([[1, 1, 0.5, 0.5, 0.3, 0.3]]), torch.tensor([False, True]))
    run.model.eval()  # so that the images do not see each other in the batch norms
    second = Batch(both.images[1:], alone.targets)
    wanted, parts = losses(run, second, {})
    found, found_parts = losses(run, both, {})
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(found_parts, parts)


def test_the_teacher_is_heard_on_unlabelled_images(run: TrainingRun) -> None:
    run.model.eval()
    nothing = torch.zeros(0, 6)
    known = losses(run, Batch(batch().images, nothing), {"logits": 1.0})[1]
    unknown = losses(run, Batch(batch().images, nothing, torch.tensor([False, False])), {"logits": 1.0})[1]
    assert [unknown[part] for part in ("box", "obj", "cls")] == [0, 0, 0]
    assert known["obj"] > 0
    for part in ("logits_box", "logits_obj", "logits_cls"):
        torch.testing.assert_close(unknown[part], known[part])


def test_a_batch_of_unlabelled_images_is_a_step(run: TrainingRun) -> None:
    before = weights(run)
    step(run, Batch(batch().images, torch.zeros(0, 6), torch.tensor([False, False])), {"logits": 1.0})
    assert not all(map(torch.equal, before, weights(run)))
