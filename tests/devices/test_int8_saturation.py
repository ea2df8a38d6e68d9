"""Which CPUs cut off sums of products of bytes."""

import pytest

from devices.int8_saturation import saturates


@pytest.mark.parametrize(
    ("flags", "machine", "wanted"),
    [
        (("avx2", "fma"), "x86_64", True),
        (("avx2", "avx512f"), "AMD64", True),
        ((), "x86_64", True),  # flags that nobody can read
        (("avx2", "avx512f", "avx512_vnni"), "x86_64", False),
        (("avx2", "avx_vnni"), "x86_64", False),
        (("asimdhp",), "aarch64", False),
        ((), "arm64", False),
    ],
)
def test_an_x86_cpu_without_a_dot_product_does(flags: tuple[str, ...], machine: str, wanted: bool) -> None:
    assert saturates(flags, machine) == wanted
