"""The optimiser's groups and the rates that each step puts into them."""

from typing import get_args

import pytest
import torch
from torch import nn

from distill.training.schedule import OptimiserConfig, OptimiserKind, Rates
from distill.training.setup import make_optimiser, set_rates

NOW = Rates(lr=0.02, bias_lr=0.07, momentum=0.85)


@pytest.fixture(params=get_args(OptimiserKind))
def settings(request: pytest.FixtureRequest) -> OptimiserConfig:
    """Every kind of optimiser there is."""
    return OptimiserConfig(kind=request.param, weight_decay=0.3)


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))


def test_only_convolution_weights_decay(settings: OptimiserConfig) -> None:
    optimiser = make_optimiser(network(), network(), settings)
    decays = [group["weight_decay"] for group in optimiser.param_groups]
    assert decays == [0, 0.3, 0]
    assert all(p.ndim == 4 for p in optimiser.param_groups[1]["params"])


def test_only_the_students_biases_have_a_rate_of_their_own(settings: OptimiserConfig) -> None:
    student, adapter = network(), network()
    optimiser = make_optimiser(student, adapter, settings)
    set_rates(optimiser, NOW)
    assert [group["lr"] for group in optimiser.param_groups] == [0.07, 0.02, 0.02]
    biases = {id(p) for name, p in student.named_parameters() if name.endswith("bias")}
    assert {id(p) for p in optimiser.param_groups[0]["params"]} == biases


def test_the_momentum_of_the_step_reaches_the_optimiser(settings: OptimiserConfig) -> None:
    optimiser = make_optimiser(network(), nn.ModuleDict(), settings)
    set_rates(optimiser, NOW)
    used = [group["betas"][0] if "betas" in group else group["momentum"] for group in optimiser.param_groups]
    assert used == [0.85, 0.85, 0.85]


def test_a_step_makes_the_loss_smaller(settings: OptimiserConfig) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 1))
    optimiser = make_optimiser(model, nn.ModuleDict(), settings)
    set_rates(optimiser, Rates(lr=0.01, bias_lr=0.01, momentum=0.8))
    image = torch.ones(2, 3, 4, 4)
    before = model(image).square().mean()
    before.backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    assert model(image).square().mean() < before
