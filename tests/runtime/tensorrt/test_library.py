"""What is said where TensorRT is not installed."""

from __future__ import annotations

import sys

import pytest

from edgestill.errors import DeviceError
from edgestill.installation import pip_command
from runtime.tensorrt.library import load_library


@pytest.mark.parametrize(
    ("machine", "hint"),
    [
        ("x86_64", pip_command("tensorrt-rtx")),
        ("aarch64", "it is for x86 only, this machine is aarch64: use --to tensorrt on the device"),
    ],
)
def test_tensorrt_rtx_is_offered_where_there_is_a_package_of_it(
    machine: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    monkeypatch.setattr("platform.machine", lambda: machine)
    with pytest.raises(DeviceError, match="tensorrt_rtx is not installed") as caught:
        load_library("tensorrt-rtx")
    assert caught.value.hint == hint
