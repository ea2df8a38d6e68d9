"""The moving average of the weights."""

from __future__ import annotations

from math import exp

import torch
from torch import nn

from distill.training.ema import Ema


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))


def test_an_update_moves_by_the_decay_of_its_step() -> None:
    model = network()
    before = model[0].weight.detach().clone()
    ema = Ema(model, decay=0.9, steps=10)
    with torch.no_grad():
        model[0].weight.add_(1.0)
    ema.update(model)

    decay = 0.9 * (1 - exp(-1 / 10))
    torch.testing.assert_close(ema.model[0].weight, before + (1 - decay))


def test_running_statistics_are_averaged_too() -> None:
    model = network()
    ema = Ema(model, decay=0.9, steps=10)
    model(torch.ones(4, 1, 3, 3))
    ema.update(model)
    assert not torch.equal(ema.model[1].running_mean, torch.zeros(2))


def test_a_counter_is_copied_and_not_averaged() -> None:
    model = network()
    ema = Ema(model, decay=0.9, steps=10)
    model(torch.ones(4, 1, 3, 3))
    ema.update(model)
    assert int(ema.model[1].num_batches_tracked) == 1
    assert ema.model[1].num_batches_tracked.dtype == torch.int64


def test_the_average_has_no_gradients_and_is_in_eval_mode() -> None:
    ema = Ema(network(), decay=0.9, steps=10)
    assert not ema.model.training
    assert not any(p.requires_grad for p in ema.model.parameters())
