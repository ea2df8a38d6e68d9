"""In which number format a machine trains."""

from __future__ import annotations

import pytest
import torch

from distill.training import precision
from edgestill.errors import DeviceError


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize(("has_bf16", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_a_cpu_trains_in_bf16_where_it_multiplies_it(
    has_bf16: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: has_bf16)
    assert precision.resolve("auto", "auto").dtype == dtype


@pytest.mark.usefixtures("no_gpu")
def test_bf16_goes_with_channels_last() -> None:
    assert precision.resolve("cpu", "bf16").channels_last


@pytest.mark.usefixtures("no_gpu")
def test_a_gpu_that_is_not_there_is_an_error() -> None:
    with pytest.raises(DeviceError, match="device = cuda"):
        precision.resolve("cuda", "auto")


@pytest.mark.usefixtures("no_gpu")
def test_fp16_on_a_cpu_is_an_error() -> None:
    with pytest.raises(DeviceError, match="precision = fp16 needs a GPU"):
        precision.resolve("auto", "fp16")


def test_a_gpu_trains_in_fp16_with_scaled_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    chosen = precision.resolve("auto", "auto")
    assert (chosen.device.type, chosen.dtype, chosen.scales_gradients) == ("cuda", torch.float16, True)


def test_images_become_the_networks_input() -> None:
    compute = precision.resolve("cpu", "fp32")
    images = torch.full((1, 4, 4, 3), 255, dtype=torch.uint8).permute(0, 3, 1, 2)
    made = compute.images(images, 1 / 255)
    assert made.dtype == torch.float32
    assert made.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(made, torch.ones(1, 3, 4, 4))
