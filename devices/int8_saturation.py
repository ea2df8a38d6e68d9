"""Whether this CPU adds products of bytes right, whatever the bytes are."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from pathlib import Path

from devices.linux import read_cpu

#: Instruction sets that add the products of bytes in 32 bits.
DOT_PRODUCTS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"})
_X86 = frozenset({"x86_64", "amd64", "i686", "x86"})


def cuts_off(flags: Iterable[str], machine: str) -> bool:
    """Whether sums of two products of bytes are cut off where weights use all eight bits.

    An x86 CPU without a dot product of bytes adds two products of an unsigned byte and a signed one in 16
    bits (``vpmaddubsw``), and what does not fit is cut off; the kernels of ONNX Runtime and OpenVINO use that
    there. Other processors widen first. Where the flags cannot be read, an x86 CPU is taken to have none.

    Args:
        flags: Those of ``devices.linux.Cpu``.
        machine: As ``platform.machine()`` names it.

    Source: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html (saturation of U8S8)
    """
    return machine.lower() in _X86 and not DOT_PRODUCTS & set(flags)


def cuts_off_here() -> bool:
    """``cuts_off`` of the CPU that this process runs on."""
    return cuts_off(read_cpu(Path("/")).flags, platform.machine())
