"""Which TensorRT serves which GPU."""

import pytest

from devices.profile import load_profiles
from devices.tensorrt_support import (
    JETSON_CAPABILITIES,
    LAST,
    NO_INT8,
    doubts,
    is_imported,
    is_too_new,
    jetson_hint,
    last_version_hint,
    major_minor,
)


@pytest.mark.parametrize(
    ("version", "capability", "left_behind"),
    [
        ("10.4.0.26", "7.0", False),
        ("10.5.0", "7.0", True),
        ("11.4.0.106", "7.0", True),
        ("8.2.1.8", "5.3", False),
        ("8.5.2", "5.3", True),
        ("11.4.0", "7.5", False),
        ("11.4.0", "8.7", False),
        ("10.16.1", "11.0", False),
    ],
)
def test_a_version_that_has_left_a_gpu_behind(version: str, capability: str, left_behind: bool) -> None:
    assert is_too_new(version, capability) is left_behind


@pytest.mark.parametrize(
    ("text", "numbers"), [("10.16.1.11", (10, 16)), ("8.2.1+cuda10", (8, 2)), ("?", (0, 0))]
)
def test_versions_are_read(text: str, numbers: tuple[int, int]) -> None:
    assert major_minor(text) == numbers


@pytest.mark.parametrize(
    ("version", "capability", "precision", "said"),
    [
        ("10.4.0", "7.0", "int8", "no INT8 tensor cores"),
        ("10.3.0.30", "8.7", "int8", "lost accuracy with INT8 on TensorRT 10.3"),
        ("11.2.1.5", "8.9", "fp16", "miscompiles"),
        ("10.2.0.19", "8.9", "fp32", "must not be used"),
    ],
)
def test_what_speaks_against_an_engine(version: str, capability: str, precision: str, said: str) -> None:
    (doubt,) = doubts(version, capability, precision)
    assert said in doubt


def test_a_good_combination_has_no_doubt() -> None:
    assert doubts("10.16.1", "8.7", "fp16") == []


@pytest.mark.parametrize(
    ("l4t", "said"),
    [
        ("36.4.3", "sudo apt install python3-libnvinfer"),
        (None, "sudo apt install python3-libnvinfer"),
        ("35.6.4", "JetPack 5 has it for Python 3.8 only"),
        ("32.7.6", "--precision fp32 --opset 13, then on the device /usr/src/tensorrt/bin/trtexec"),
    ],
)
def test_a_jetson_is_told_where_its_tensorrt_comes_from(l4t: str | None, said: str) -> None:
    assert said in jetson_hint(l4t)


def test_each_jetson_that_was_left_behind_has_its_last_version() -> None:
    for capability in JETSON_CAPABILITIES:
        assert "trtexec" in last_version_hint(capability)


@pytest.mark.parametrize(
    ("software", "imported"),
    [
        ({}, True),
        ({"tensorrt": "10.3.0.30", "python": "3.10"}, True),
        ({"tensorrt": "8.5.2", "python": "3.8"}, False),
        ({"tensorrt": "8.2.1", "python": "3.6"}, False),
        ({"tensorrt": "8.2.1"}, False),
    ],
)
def test_tensorrt_is_imported_where_python_and_version_allow_it(
    software: dict[str, str], imported: bool
) -> None:
    assert is_imported(software) is imported


def test_the_profiles_say_the_same() -> None:
    """The device files name their last TensorRT and their precisions too."""
    for profile in load_profiles():
        capability = profile.compute_capability
        if capability in LAST:
            assert major_minor(profile.software["tensorrt"]) == LAST[capability], profile.key
        if capability in NO_INT8:
            assert "int8" not in profile.precisions, profile.key
