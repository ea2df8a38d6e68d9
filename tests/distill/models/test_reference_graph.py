"""The network against its published graph, written out once more, layer by layer, as plain functions."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.models.yolov5 import build

Weights = Mapping[str, Tensor]


def conv(w: Weights, name: str, x: Tensor, stride: int = 1, padding: int | None = None) -> Tensor:
    kernel = w[f"{name}.conv.weight"]
    border = kernel.shape[-1] // 2 if padding is None else padding
    x = F.conv2d(x, kernel, None, stride, border)
    mean, var, gain, bias = (w[f"{name}.bn.{k}"] for k in ("running_mean", "running_var", "weight", "bias"))
    scale = gain / torch.sqrt(var + 1e-3)
    x = (x - mean.view(-1, 1, 1)) * scale.view(-1, 1, 1) + bias.view(-1, 1, 1)
    return x * torch.sigmoid(x)


def c3(w: Weights, name: str, x: Tensor, repeats: int, shortcut: bool = True) -> Tensor:
    a, b = conv(w, f"{name}.cv1", x), conv(w, f"{name}.cv2", x)
    for k in range(repeats):
        deeper = conv(w, f"{name}.m.{k}.cv2", conv(w, f"{name}.m.{k}.cv1", a))
        a = a + deeper if shortcut else deeper
    return conv(w, f"{name}.cv3", torch.cat((a, b), 1))


def sppf(w: Weights, name: str, x: Tensor) -> Tensor:
    x = conv(w, f"{name}.cv1", x)
    pools = [F.max_pool2d(x, k, 1, k // 2) for k in (5, 9, 13)]
    return conv(w, f"{name}.cv2", torch.cat((x, *pools), 1))


def published_nano(w: Weights, x: Tensor, nc: int) -> list[Tensor]:
    x = conv(w, "model.0", x, 2, padding=2)
    x = c3(w, "model.2", conv(w, "model.1", x, 2), 1)
    p3 = c3(w, "model.4", conv(w, "model.3", x, 2), 2)
    p4 = c3(w, "model.6", conv(w, "model.5", p3, 2), 3)
    p5 = sppf(w, "model.9", c3(w, "model.8", conv(w, "model.7", p4, 2), 1))
    low = conv(w, "model.10", p5)
    up = torch.cat((F.interpolate(low, scale_factor=2), p4), 1)
    middle = conv(w, "model.14", c3(w, "model.13", up, 1, shortcut=False))
    up = torch.cat((F.interpolate(middle, scale_factor=2), p3), 1)
    n3 = c3(w, "model.17", up, 1, shortcut=False)
    n4 = c3(w, "model.20", torch.cat((conv(w, "model.18", n3, 2), middle), 1), 1, shortcut=False)
    n5 = c3(w, "model.23", torch.cat((conv(w, "model.21", n4, 2), low), 1), 1, shortcut=False)
    raw = []
    for level, neck in enumerate((n3, n4, n5)):
        out = F.conv2d(neck, w[f"model.24.m.{level}.weight"], w[f"model.24.m.{level}.bias"])
        batch, _, height, width = out.shape
        raw.append(out.reshape(batch, 3, 5 + nc, height, width).permute(0, 1, 3, 4, 2))
    return raw


def test_the_network_computes_the_published_graph() -> None:
    generator = torch.Generator().manual_seed(0)
    model = build("n", 3).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            # Small variances, so that the epsilon counts.
            for value in (module.weight.data, module.running_var):
                assert isinstance(value, Tensor)
                value.uniform_(0.01, 0.05, generator=generator)
            module.bias.data.normal_(generator=generator)
    image = torch.rand(2, 3, 64, 96, generator=generator)

    with torch.no_grad():
        for ours, wanted in zip(model(image), published_nano(model.state_dict(), image, 3), strict=True):
            torch.testing.assert_close(ours, wanted, atol=1e-4, rtol=1e-4)


def test_batch_norms_follow_the_data_at_the_published_pace() -> None:
    norms = [m for m in build("n", 1).modules() if isinstance(m, nn.BatchNorm2d)]
    assert {(m.momentum, m.eps) for m in norms} == {(0.03, 1e-3)}
