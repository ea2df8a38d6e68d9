"""The versions of TensorRT that the tests of builder and backend run on, each with its stand-in."""

import pytest

WEAK = ("8.5.2", "8.6.1")  # flags allow a precision
STRONG = ("10.3.0", "11.4.0")  # the graph defines it
#: Strongly typed too. They are among those that ``make check-tensorrt`` compares with NVIDIA's bindings.
FURTHER = ("10.0.1", "10.4.0", "10.7.0", "10.9.0", "10.13.3", "10.16.1")
_SLOW = tuple(pytest.param(version, marks=pytest.mark.slow) for version in FURTHER)
VERSIONS = pytest.mark.parametrize("version", [*WEAK, *STRONG, *_SLOW])
STRONG_VERSIONS = pytest.mark.parametrize("version", [*STRONG, *_SLOW])
