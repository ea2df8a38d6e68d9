"""``--imgsz`` takes the sizes that a network can have."""

import pytest

from edgestill.cli.options.sizes import MAX_SIDE, input_hw
from edgestill.errors import UsageError
from runtime import file_reading


@pytest.mark.parametrize(
    ("text", "hw"), [("640", (640, 640)), ("384X640", (384, 640)), (f"32x{MAX_SIDE}", (32, MAX_SIDE))]
)
def test_a_size_is_one_side_or_height_and_width(text: str, hw: tuple[int, int]) -> None:
    assert input_hw(text) == hw


@pytest.mark.parametrize(
    "text", ["0", "0x0", "0x32", "32x0", "-32", "33", "32x", "x", "", "1e3", "16416", "3" * 9999]
)
def test_anything_else_is_a_usage_error_of_its_flag(text: str) -> None:
    with pytest.raises(UsageError, match=r"^--profile-size .* in multiples of 32 up to 16384") as caught:
        input_hw(text, "--profile-size")
    assert caught.value.hint == "e.g. --profile-size 384x640, height first"


def test_the_largest_side_is_that_of_the_runtime() -> None:
    assert MAX_SIDE == file_reading.MAX_SIDE
