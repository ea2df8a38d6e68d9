"""The driver's calls, against a driver in main memory."""

from collections.abc import Callable
from typing import Any

import pytest

from edgestill.errors import DeviceError
from runtime.tensorrt.cuda_driver import Driver, device_index, open_driver


def test_the_gpu_is_described(make_cuda: Callable[..., Any]) -> None:
    facts = Driver(make_cuda(name="Orin", capability=(8, 7), sms=16, integrated=True)).facts()
    assert (facts.name, facts.compute_capability, facts.sms) == ("Orin", "8.7", 16)
    assert facts.maps_memory
    assert not Driver(make_cuda()).facts().maps_memory


def test_an_error_that_the_driver_has_no_name_for_is_a_number(make_cuda: Callable[..., Any]) -> None:
    library = make_cuda()
    library.fail["cuInit"] = 777
    with pytest.raises(DeviceError, match="in cuInit: error 777"):
        Driver(library)


@pytest.mark.parametrize(("count", "index"), [(0, 0), (1, 1), (2, 7)])
def test_a_device_that_is_not_there(make_cuda: Callable[..., Any], count: int, index: int) -> None:
    with pytest.raises(DeviceError, match=f"no CUDA device {index}; {count} are visible") as caught:
        Driver(make_cuda(count=count), index)
    assert "CUDA_VISIBLE_DEVICES" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "index"),
    [("cuda", 0), ("cuda:0", 0), ("cuda:13", 13), ("cpu", None), ("cuda:", None), ("cuda:-1", None)]
    + [(text, None) for text in ("cuda:1x", "CUDA", "cuda:99999", "cuda:\u0661", "", "cuda:0\n")],
)
def test_a_device_is_written_as_in_pytorch(text: str, index: int | None) -> None:
    assert device_index(text) == index


def test_a_library_without_a_function_is_no_driver(make_cuda: Callable[..., Any]) -> None:
    library = make_cuda()
    del library.cuCtxPushCurrent_v2
    with pytest.raises(DeviceError, match="has no cuCtxPushCurrent_v2"):
        Driver(library)


def test_without_a_driver_the_machine_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr("ctypes.CDLL", absent)
    with pytest.raises(DeviceError, match="no NVIDIA driver") as caught:
        open_driver()
    assert "--to openvino" in caught.value.hint
