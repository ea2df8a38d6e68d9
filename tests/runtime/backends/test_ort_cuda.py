"""The device number of ONNX Runtime's CUDA provider, which this ONNX Runtime lacks: it is simulated."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgestill.errors import DeviceError
from runtime.backend import open_backend
from runtime.backends import ort

CUDA = "CUDAExecutionProvider"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, make_cuda: Callable[..., Any]) -> list[Any]:
    """The providers of each session, on a machine with two GPUs; the sessions run on the CPU."""
    given: list[Any] = []
    real = ort.ort.InferenceSession

    def session(path: str, options: Any, providers: list[Any]) -> Any:
        given.append(providers)
        made = real(path, options, providers=["CPUExecutionProvider"])
        made.get_providers = lambda: [CUDA, "CPUExecutionProvider"]
        return made

    library = make_cuda(count=2)
    monkeypatch.setattr("ctypes.CDLL", lambda name: library)
    monkeypatch.setattr(ort.ort, "get_available_providers", lambda: [CUDA, "CPUExecutionProvider"])
    monkeypatch.setattr(ort.ort, "InferenceSession", session)
    return given


@pytest.mark.parametrize(("device", "number"), [("cuda", 0), ("cuda:0", 0), ("cuda:1", 1)])
def test_the_provider_gets_the_number(device: str, number: int, asked: list[Any], lamp_model: Path) -> None:
    loaded = open_backend(lamp_model, device=device)
    loaded.layers_by_dtype()
    assert asked == [[(CUDA, {"device_id": number})]] * 2
    assert loaded.device == (f"{CUDA}: device 1" if number else CUDA)


def test_a_gpu_that_is_not_there_is_told_before_the_file_is_loaded(
    asked: list[Any], lamp_model: Path
) -> None:
    with pytest.raises(DeviceError, match="there is no CUDA device 2; 2 are visible"):
        open_backend(lamp_model, device="cuda:2")
    assert asked == []
