"""Whether this CPU's INT8 kernels saturate: instruction sets without an 8-bit dot product."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from pathlib import Path

from devices.linux import read_cpu

#: Instruction sets whose INT8 dot products accumulate in 32 bits.
DOT_PRODUCTS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"})
_X86 = frozenset({"x86_64", "amd64", "i686", "x86"})


def saturates(flags: Iterable[str], machine: str) -> bool:
    """Whether INT8 kernels saturate on a CPU if weights use the full 8-bit range.

    An x86 CPU without an INT8 dot product adds two products of uint8 and int8 in 16 bits (``vpmaddubsw``),
    which saturates; ONNX Runtime and OpenVINO use that instruction there. Other processors accumulate in 32
    bits. An x86 CPU whose flags cannot be read is assumed to have no dot product.

    Args:
        flags: Instruction sets, see ``devices.linux.Cpu``.
        machine: Architecture, see ``platform.machine()``.

    Source: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html (saturation of U8S8)
    """
    return machine.lower() in _X86 and not DOT_PRODUCTS & set(flags)


def saturates_here() -> bool:
    """``saturates`` for the CPU that this process runs on."""
    return saturates(read_cpu(Path("/")).flags, platform.machine())
