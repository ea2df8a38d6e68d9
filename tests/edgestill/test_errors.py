"""Errors are two lines and a code."""

import pytest

from edgestill import errors
from edgestill.installation import pip_command


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.UsageError, 2),
        (errors.DataError, 3),
        (errors.ArtifactError, 4),
        (errors.DeviceError, 5),
        (errors.VerificationError, 6),
    ],
)
def test_each_kind_has_its_exit_code(kind: type[errors.ToolchainError], code: int) -> None:
    assert kind("what", hint="next").exit_code == code


def test_an_error_is_a_fact_and_a_next_step() -> None:
    assert str(errors.DataError("x.jpg is cut off", hint="copy it")) == "x.jpg is cut off\n  hint: copy it"


def test_a_message_of_a_library_with_many_lines_stays_one_line() -> None:
    error = errors.ArtifactError("cannot load x:\n  line 2\n\n line 3", hint="export\nagain")
    assert str(error).splitlines() == ["cannot load x: line 2 line 3", "  hint: export again"]


def test_a_near_miss_gets_a_suggestion() -> None:
    assert errors.unknown_name("backend", "otr", ["ort", "ov"]).hint == "did you mean 'ort'?"


def test_a_wild_guess_gets_the_list() -> None:
    assert errors.unknown_name("backend", "zzz", ["ov", "ort"]).hint == "known: ort, ov"


def test_a_missing_library_comes_with_its_command() -> None:
    error = errors.missing_library("the backend 'ov'", "openvino", "openvino")
    assert error.hint == pip_command("openvino")


def test_a_message_is_one_line_of_bounded_length_without_control_characters() -> None:
    error = errors.DataError("a\nb \x1b[31mred\x00 \ud800 日本", hint="x" * 10_000)
    assert error.what == r"a b \x1b[31mred\x00 \ud800 日本"
    assert len(error.hint) < 2100
