"""Power, energy, clocks, temperature and throttle reasons of NVIDIA graphics cards, through NVML by ctypes.

``libnvidia-ml.so.1`` comes with the driver, and no package is needed. On a Jetson NVML knows no power.

Source: docs.nvidia.com/deploy/nvml-api (functions, units, bits); Yang, Adamek and Armour, Accurate and
Convenient Energy Measurements for GPUs, SC 2024 (A100 and H100 sample power for a quarter of the time).
"""

from __future__ import annotations

import ctypes
from typing import Any

LIBRARY = "libnvidia-ml.so.1"
_SUCCESS = 0
_BUFFER = 96  # NVML_DEVICE_NAME_V2_BUFFER_SIZE and NVML_DEVICE_UUID_V2_BUFFER_SIZE
_CLOCK_SM, _CLOCK_MEMORY = 1, 2
_SENSOR_GPU = 0

#: Bits of nvmlClocksEventReasons, called nvmlClocksThrottleReasons before CUDA 12.2.
THROTTLE_BITS = {
    0x4: "software power cap",
    0x8: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "hardware power brake",
}
#: A card of limited power, as T4 and L4, works at its cap: that is stated and is no fault of a run.
POWER_CAP = 0x4


class NvmlError(Exception):
    """An error of NVML; the message is that of the library."""


class Nvml:
    """The library, initialised.

    Args:
        library: Name or path of the shared library.

    Raises:
        OSError: There is no such library.
        NvmlError: The driver does not answer.
    """

    def __init__(self, library: str = LIBRARY) -> None:
        self._library = ctypes.CDLL(library)
        self._library.nvmlErrorString.restype = ctypes.c_char_p
        self.call("nvmlInit_v2")
        self._is_open = True

    def close(self) -> None:
        """End the use of the library; further calls do nothing."""
        if self._is_open:
            self._is_open = False
            self._library.nvmlShutdown()

    def count(self) -> int:
        """Number of cards."""
        return self.unsigned("nvmlDeviceGetCount_v2")

    def device(self, index: int) -> NvmlDevice:
        """The card of an index, in the order of the PCI bus."""
        handle = ctypes.c_void_p()
        self.call("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(index), ctypes.byref(handle))
        return NvmlDevice(self, handle)

    def has(self, name: str) -> bool:
        """Whether this driver has a function."""
        return hasattr(self._library, name)

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function; raises NvmlError if it fails or does not exist."""
        try:
            function = getattr(self._library, name)
        except AttributeError:
            raise NvmlError(f"this driver's NVML has no {name}") from None
        status = function(*arguments)
        if status != _SUCCESS:
            said = self._library.nvmlErrorString(status)
            raise NvmlError(said.decode("utf-8", "replace"))

    def unsigned(self, name: str, *arguments: Any, of: type[ctypes._SimpleCData[int]] = ctypes.c_uint) -> int:
        """The number that a function writes to its last argument, of the C type ``of``."""
        value = of()
        self.call(name, *arguments, ctypes.byref(value))
        return value.value


class NvmlDevice:
    """A graphics card. Each method raises NvmlError where the card does not have the figure."""

    def __init__(self, nvml: Nvml, handle: ctypes.c_void_p) -> None:
        self._nvml, self._handle = nvml, handle

    def name(self) -> str:
        """Name of the card."""
        return self._text("nvmlDeviceGetName")

    def uuid(self) -> str:
        """Identity of the card, as in ``CUDA_VISIBLE_DEVICES``."""
        return self._text("nvmlDeviceGetUUID")

    def power_mw(self) -> float:
        """Power of the board; from Ampere on (but not A100) the mean of the last second."""
        return self._nvml.unsigned("nvmlDeviceGetPowerUsage", self._handle)

    def energy_mj(self) -> float:
        """Energy of the board since the driver was loaded; Volta and later."""
        name = "nvmlDeviceGetTotalEnergyConsumption"
        return self._nvml.unsigned(name, self._handle, of=ctypes.c_ulonglong)

    def sm_mhz(self) -> float:
        """Clock of the multiprocessors."""
        return self._nvml.unsigned("nvmlDeviceGetClockInfo", self._handle, ctypes.c_uint(_CLOCK_SM))

    def memory_mhz(self) -> float:
        """Clock of the memory."""
        return self._nvml.unsigned("nvmlDeviceGetClockInfo", self._handle, ctypes.c_uint(_CLOCK_MEMORY))

    def temperature_c(self) -> float:
        """Temperature of the GPU."""
        return self._nvml.unsigned("nvmlDeviceGetTemperature", self._handle, ctypes.c_uint(_SENSOR_GPU))

    def throttle_bits(self) -> float:
        """Mask of the reasons that hold clocks down now, see ``THROTTLE_BITS``."""
        # Drivers before R535 have the second name only.
        both = "nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons"
        name = next((name for name in both if self._nvml.has(name)), both[0])
        return self._nvml.unsigned(name, self._handle, of=ctypes.c_ulonglong)

    def _text(self, name: str) -> str:
        buffer = ctypes.create_string_buffer(_BUFFER)
        self._nvml.call(name, self._handle, buffer, ctypes.c_uint(_BUFFER))
        return buffer.value.decode("utf-8", "replace")
