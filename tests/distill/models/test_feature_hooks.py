"""Feature maps are read without touching the network."""

from __future__ import annotations

import torch

from distill.models.feature_hooks import FeatureHooks, forward_features
from distill.models.yolov5 import build

IMAGES = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))


def test_the_maps_are_those_that_the_head_reads() -> None:
    model = build("n", 2).eval()
    with torch.no_grad(), FeatureHooks(model) as taps:
        raw = model(IMAGES)
        again = model.head(list(taps.features.values()))
    assert all(torch.equal(a, b) for a, b in zip(raw, again, strict=True))


def test_the_maps_have_the_channels_and_sizes_of_their_levels() -> None:
    model = build("n", 2).eval()
    with torch.no_grad(), FeatureHooks(model) as taps:
        model(IMAGES)
        shapes = {level: tuple(m.shape) for level, m in taps.features.items()}
    assert shapes == {"p3": (1, 64, 8, 12), "p4": (1, 128, 4, 6), "p5": (1, 256, 2, 3)}


def test_a_closed_tap_reads_nothing() -> None:
    model = build("n", 2).eval()
    with FeatureHooks(model) as taps:
        pass
    with torch.no_grad():
        model(IMAGES)
    assert taps.features == {}


def test_gradients_flow_through_the_maps() -> None:
    model = build("n", 2)
    with FeatureHooks(model) as taps:
        model(IMAGES)
        torch.stack([m.sum() for m in taps.features.values()]).sum().backward()
    assert model.model[0].conv.weight.grad is not None


def test_looking_leaves_predictions_and_network_as_they_are() -> None:
    torch.manual_seed(0)
    model = build("n", 2).eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        plain = model(IMAGES)
        view = forward_features(model, IMAGES, "coupled")
        model.head(list(view.features.values()))  # the maps that it saw can still be used
        again = model(IMAGES)
    assert all(
        torch.equal(a, b) and torch.equal(a, c) for a, b, c in zip(plain, view.raw, again, strict=True)
    )
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not any(layer._forward_hooks for layer in model.model)


def test_a_view_keeps_its_maps_when_the_network_looks_again() -> None:
    model = build("n", 2).eval()
    with torch.no_grad():
        first = forward_features(model, IMAGES, "coupled")
        kept = {level: m.clone() for level, m in first.features.items()}
        forward_features(model, 1 - IMAGES, "coupled")
    assert all(torch.equal(first.features[level], m) for level, m in kept.items())


def test_layers_may_lie_elsewhere() -> None:
    model = build("n", 2).eval()
    with torch.no_grad():
        view = forward_features(model, IMAGES, "coupled", {"p3": 4})
    assert {level: tuple(m.shape) for level, m in view.features.items()} == {"p3": (1, 64, 8, 12)}
