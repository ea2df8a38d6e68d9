"""Training of the classifier: cross-entropy on varied crops, then the temperature on the validation split."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from distill.data.augment import generator
from distill.light_states.labelled_heads import Head
from distill.light_states.light_state_net import LightStateNet
from distill.light_states.vary_heads import vary
from edgestill.errors import DataError
from edgestill.progress import progress
from runtime.light_states.classifier import STATES, to_input
from runtime.light_states.crops import crop_heads


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How the classifier is trained.

    Attributes:
        epochs: Passes over the heads.
        batch: Crops a step.
        lr: Largest learning rate of AdamW; one cycle, cosine.
        seed: Of weights, order and variation.
        balance: Exponent of the frequency of a state in the sampling: 0 takes heads as often as they occur,
            1 takes all states alike.
    """

    epochs: int = 40
    batch: int = 64
    lr: float = 4e-3
    seed: int = 0
    balance: float = 0.6


def train(heads: Sequence[Head], settings: Settings) -> LightStateNet:
    """Train a network; it is returned in evaluation mode.

    Raises:
        DataError: A state has no head.
    """
    chances = _chances(heads, settings.balance)
    torch.manual_seed(settings.seed)
    network = LightStateNet()
    optimiser = torch.optim.AdamW(network.parameters(), lr=settings.lr, weight_decay=0.02)
    steps = max(1, len(heads) // settings.batch)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.lr, settings.epochs * steps)
    order = np.random.default_rng(settings.seed)
    with ThreadPoolExecutor(1) as pool, progress("training", settings.epochs * steps) as advance:
        for epoch in range(settings.epochs):
            chosen = order.choice(len(heads), (steps, settings.batch), p=chances)
            for crops, states in pool.map(lambda rows: _batch(heads, rows, epoch, settings), chosen):  # noqa: B023
                loss = F.cross_entropy(network(crops), states, label_smoothing=0.02)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                cycle.step()
                advance(1, f"epoch {epoch + 1} loss {loss.item():.3f}")
    return network.eval()


def _batch(
    heads: Sequence[Head], rows: NDArray[np.int64], epoch: int, settings: Settings
) -> tuple[torch.Tensor, torch.Tensor]:
    crops = [
        vary(heads[row], generator(settings.seed, epoch, (int(row) << 8) + place))
        for place, row in enumerate(rows)
    ]
    states = [heads[row].state for row in rows]
    return torch.from_numpy(to_input(np.stack(crops))), torch.tensor(states)


def _chances(heads: Sequence[Head], balance: float) -> NDArray[np.float64]:
    """Probability of each head to be drawn."""
    states = np.array([head.state for head in heads])
    counts = np.bincount(states, minlength=len(STATES))
    if not counts.all():
        missing = ", ".join(STATES[i] for i in np.flatnonzero(counts == 0))
        raise DataError(f"no head in the training data is {missing}", hint="add data with all states")
    weight = counts[states].astype(np.float64) ** -balance
    return np.asarray(weight / weight.sum(), np.float64)


def logits(network: LightStateNet, heads: Sequence[Head]) -> torch.Tensor:
    """Logits ``[N, 5]`` of heads as they are labelled, without variation."""
    crops = [crop_heads(head.image_bgr, head.xyxy[None])[0] for head in heads]
    with torch.no_grad():
        found: torch.Tensor = network(torch.from_numpy(to_input(np.stack(crops))))
    return found


def fit_temperature(found: torch.Tensor, states: torch.Tensor) -> float:
    """The divisor of the logits that gives labelled heads the largest likelihood (Guo et al., 2017).

    Args:
        found: Logits, float32 ``[N, 5]``.
        states: int64 ``[N]``.
    """
    grid = torch.logspace(-0.7, 0.7, 141)  # 0.2 to 5
    losses = torch.stack([F.cross_entropy(found / t, states) for t in grid])
    return float(grid[losses.argmin()])
