"""The Python packages of TensorRT, 8.5 to 11, and of TensorRT-RTX.

From 8.5 on tensors have names, and the calls that run an engine are the same in all versions. Features are
detected by their names in the package, not derived from its version.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from devices.jetson import read_jetson
from devices.tensorrt_rules import gpu_refusal
from devices.tensorrt_support import JETPACK_4, RTX_CAPABILITIES, jetson_hint
from edgestill.errors import DeviceError
from edgestill.installation import pip_command
from edgestill.target import EngineTarget

X86 = ("x86_64", "AMD64")  # as in the extra tensorrt-rtx
MODULES: Mapping[EngineTarget, str] = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}


@dataclass(frozen=True, slots=True)
class Library:
    """An imported TensorRT package.

    Attributes:
        target: TensorRT or TensorRT-RTX.
        module: The imported module.
        version: Full version.
    """

    target: EngineTarget
    module: Any
    version: str

    @property
    def is_rtx(self) -> bool:
        """Whether this is TensorRT-RTX, which builds without a GPU and for several kinds of GPU at once."""
        return self.target == "tensorrt-rtx"

    def create(self, what: str, maker: Callable[..., Any], *arguments: Any, said: Callable[[], str]) -> Any:
        """Create an object of the library.

        Args:
            what: The object, e.g. ``"the builder"``, for the message.
            maker: The class or method that creates it.
            *arguments: Its arguments.
            said: Returns the last messages of the library's logger.

        Raises:
            DeviceError: The library gave none: the driver, the GPU's memory or a library is missing. A method
                then returns None, and a constructor of the bindings raises TypeError for the null pointer.
        """
        try:
            made = maker(*arguments)
        except TypeError as error:
            raise self._gave_none(what, said() or str(error)) from error
        if made is None:
            raise self._gave_none(what, said())
        return made

    def _gave_none(self, what: str, why: str) -> DeviceError:
        return DeviceError(
            f"TensorRT {self.version} does not start: {why or 'no reason given'}; it did not create {what}",
            hint="it needs an NVIDIA GPU with free memory and a driver for its CUDA version, see nvidia-smi; "
            "TensorRT-RTX builds without: --to tensorrt-rtx",
        )

    def refuse_gpu(self, name: str, compute_capability: str) -> None:
        """Raise DeviceError if this library does not support a GPU."""
        if self.is_rtx:
            if compute_capability not in RTX_CAPABILITIES:
                raise DeviceError(
                    f"TensorRT-RTX does not run on {name}, compute capability {compute_capability}, "
                    f"only on {', '.join(RTX_CAPABILITIES)}",
                    hint="use TensorRT for it: edgestill export CKPT --to tensorrt",
                )
        elif refusal := gpu_refusal(self.version, name, compute_capability):
            raise refusal.error()


def _install_hint(target: EngineTarget) -> str:
    if target == "tensorrt-rtx" and platform.machine() not in X86:
        return f"it is for x86 only, this machine is {platform.machine()}: use --to tensorrt on the device"
    if target == "tensorrt-rtx":
        return pip_command("tensorrt-rtx")
    jetson = read_jetson(Path("/"))
    if jetson is not None:
        return jetson_hint(jetson.l4t)
    return f"{pip_command('tensorrt')}, on a V100 {pip_command('tensorrt-v100')}; no GPU: --to tensorrt-rtx"


def load_library(target: EngineTarget) -> Library:
    """Import TensorRT.

    Raises:
        DeviceError: It is not installed, cannot be loaded, is another package, or is older than 8.5.
    """
    name = MODULES[target]
    try:
        module = import_module(name)
    except Exception as error:  # importing runs the package's code, which may raise anything
        missing = isinstance(error, ModuleNotFoundError) and error.name == name
        raise DeviceError(
            f"{name} is not installed" if missing else f"{name} is installed and cannot be loaded: {error}",
            hint=_install_hint(target),
        ) from error
    version = str(getattr(module, "__version__", "unknown"))
    engine = getattr(module, "ICudaEngine", None)
    if engine is None:
        place = getattr(module, "__file__", None) or ", ".join(getattr(module, "__path__", ()))
        raise DeviceError(f"{place} is not NVIDIA's {name}", hint=_install_hint(target))
    if not hasattr(engine, "num_io_tensors"):
        raise DeviceError(
            f"TensorRT {version} has no named tensors; edgestill supports 8.5 to 11",
            hint=f"build an engine for another program: {JETPACK_4.commands}",
        )
    return Library(target, module, version)
