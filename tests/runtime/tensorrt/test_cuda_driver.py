"""The driver's calls, against a driver in main memory."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgestill.errors import DeviceError
from runtime.tensorrt.cuda_driver import Driver, Session, open_driver


def test_the_gpu_is_described(make_cuda: Callable[..., Any]) -> None:
    facts = Driver(make_cuda(name="Orin", capability=(8, 7), sms=16)).facts()
    assert (facts.name, facts.compute_capability, facts.sms) == ("Orin", "8.7", 16)


def test_memory_goes_there_and_back(make_cuda: Callable[..., Any]) -> None:
    session = Session(Driver(make_cuda()))
    sent, received = session.host((2, 3), np.float32), session.host((2, 3), np.float32)
    sent[...] = np.arange(6).reshape(2, 3)
    device = session.device(sent.nbytes)
    session.to_device(sent, device)
    session.to_host(device, received)
    session.wait()
    np.testing.assert_array_equal(received, sent)


def test_closing_gives_everything_back(make_cuda: Callable[..., Any]) -> None:
    library = make_cuda()
    session = Session(Driver(library))
    session.host((4,), np.float32)
    session.device(100)
    assert (len(library.live), library.contexts) == (2, 1)
    session.close()
    assert (len(library.live), library.contexts) == (0, 0)


def test_an_error_is_told_by_function_and_name(make_cuda: Callable[..., Any]) -> None:
    library = make_cuda()
    session = Session(Driver(library))
    library.fail["cuMemAlloc_v2"] = 2
    with pytest.raises(DeviceError, match="in cuMemAlloc_v2: CUDA_ERROR_OUT_OF_MEMORY"):
        session.device(1 << 20)


def test_an_error_that_the_driver_has_no_name_for_is_a_number(make_cuda: Callable[..., Any]) -> None:
    library = make_cuda()
    library.fail["cuInit"] = 777
    with pytest.raises(DeviceError, match="in cuInit: error 777"):
        Driver(library)


@pytest.mark.parametrize(("count", "index"), [(0, 0), (1, 1)])
def test_a_device_that_is_not_there(make_cuda: Callable[..., Any], count: int, index: int) -> None:
    with pytest.raises(DeviceError, match=f"no CUDA device {index}; {count} are visible"):
        Driver(make_cuda(count=count), index)


def test_without_a_driver_the_machine_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr("ctypes.CDLL", absent)
    with pytest.raises(DeviceError, match="no NVIDIA driver") as caught:
        open_driver()
    assert "--to openvino" in caught.value.hint
