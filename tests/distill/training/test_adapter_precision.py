"""Convolutions of distillation terms compute as the networks do."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from distill.method import NetworkOutputs, StudentTeacherInfo
from distill.methods.score_l2 import Config, Loss
from distill.training.adapter_precision import autocast_adapters
from distill.training.precision import ComputeConfig

CHANNELS = {"p3": 8, "p4": 16, "p5": 32}


def compute(dtype: torch.dtype) -> ComputeConfig:
    return ComputeConfig(device=torch.device("cpu"), dtype=dtype, channels_last=True)


def formats_of(module: nn.Module) -> list[torch.dtype]:
    """What convolutions of a module are given when it is called, in a list that fills."""
    seen: list[torch.dtype] = []
    original = torch.nn.functional.conv2d
    for part in module.modules():
        if isinstance(part, nn.Conv2d):

            def watched(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
                out = original(x, weight, bias)
                seen.append(out.dtype)
                return out

            part._conv_forward = watched  # type: ignore[method-assign]
    return seen


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_convolutions_take_the_networks_format_and_give_float32(dtype: torch.dtype) -> None:
    layers = nn.Sequential(nn.Conv2d(8, 16, 1), nn.ReLU(), nn.Conv2d(16, 16, 1))
    seen = formats_of(layers)
    autocast_adapters(layers, compute(dtype))
    out = layers(torch.rand(2, 8, 4, 4))
    out.sum().backward()
    assert seen == [dtype, dtype]
    assert out.dtype == torch.float32
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in layers.parameters())


def test_maps_in_the_networks_format_stay_in_it() -> None:
    layer = nn.Conv2d(8, 16, 1)
    autocast_adapters(layer, compute(torch.bfloat16))
    assert layer(torch.rand(2, 8, 4, 4).bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("channels", [(8, 1), (1, 1), (1, 8)])
def test_a_mask_of_attention_stays_in_float32(channels: tuple[int, int]) -> None:
    layer = nn.Conv2d(*channels, 1)
    seen = formats_of(layer)
    autocast_adapters(layer, compute(torch.bfloat16))
    layer(torch.rand(2, channels[0], 4, 4))
    assert seen == [torch.float32]


def test_a_term_keeps_its_value_and_its_state(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    pair = StudentTeacherInfo(
        student_channels=CHANNELS,
        teacher_channels={level: 2 * width for level, width in CHANNELS.items()},
        strides=(8, 16, 32),
        anchors_px=(),
        nc=2,
        input_hw=(64, 64),
        head="dfl",
        teacher_head="dfl",
    )

    def view(factor: int) -> NetworkOutputs:
        sizes = (8, 4, 2)
        features = {
            level: torch.randn(2, factor * width, size, size)
            for (level, width), size in zip(CHANNELS.items(), sizes, strict=True)
        }
        return NetworkOutputs(features, [torch.randn(2, 1, size, size, 66) for size in sizes], "dfl")

    student, teacher, targets = view(1), view(2), torch.zeros(0, 6)
    loss = Loss(Config(), pair)
    names = list(loss.state_dict())
    exact = loss(student, teacher, targets)
    autocast_adapters(loss, compute(torch.bfloat16))
    close = loss(student, teacher, targets)
    assert list(loss.state_dict()) == names
    for level, value in exact.items():
        assert close[level].dtype == torch.float32
        assert close[level] != value  # it did compute otherwise
        torch.testing.assert_close(close[level], value, rtol=5e-3, atol=0)
