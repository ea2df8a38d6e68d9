"""Progress without a terminal: whole lines, one write each, whatever is written between them."""

from __future__ import annotations

import io
import sys

import pytest

from edgestill import progress
from edgestill.progress import say, track


class Stream(io.StringIO):
    """Records what each write gets."""

    def __init__(self, *, terminal: bool = False) -> None:
        super().__init__()
        self.writes: list[str] = []
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal

    def write(self, text: str) -> int:
        self.writes.append(text)
        return super().write(text)


def written(stream: Stream, monkeypatch: pytest.MonkeyPatch, label: str = "read files") -> list[str]:
    """The writes while three items are tracked, with a message in between."""
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(progress, "LOG_EVERY_S", 0.0)
    for item in track("abc", label, 3):
        if item == "b":
            say("a message")
    return [text for text in stream.writes if text]


def test_each_line_is_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = written(Stream(), monkeypatch)
    assert [line.partition(",")[0] for line in lines[:3]] == [
        "read files: 1/3",
        "a message\n",
        "read files: 2/3",
    ]
    assert lines[3].startswith("read files: 3/3 in ")
    assert all(line.endswith("\n") and line.count("\n") == 1 and "\r" not in line for line in lines)


@pytest.mark.parametrize("label", ["two\nlines", "back\rto the start", "a tab\t here"])
def test_a_label_with_a_line_break_stays_on_its_line(label: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = written(Stream(), monkeypatch, label)
    assert all(line.count("\n") == 1 and "\r" not in line for line in lines)


def test_a_terminal_that_cannot_redraw_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    lines = written(Stream(terminal=True), monkeypatch)
    assert [line for line in lines if line.startswith("read files: ")] == lines[:1] + lines[2:]
    assert "\x1b" not in "".join(lines)


def test_colours_that_are_forced_do_not_draw_a_bar_into_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b" not in "".join(written(Stream(), monkeypatch))
