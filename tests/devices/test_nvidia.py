"""Cards of ``nvidia-smi``: odd values are unknown with their reason, errors are no cards, a hang ends."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from devices import nvidia
from devices.nvidia import parse_cards, query_cards, why_no_card

REASONS = (
    "Not Supported",
    "N/A",
    "Unknown Error",
    "Insufficient Permissions",
    "GPU is lost",
    "Requires Reset",
)
FIELDS = ("name", "compute_capability", "memory_mib", "driver", "power_limit_w", "max_sm_mhz")
ROW = ("Tesla T4", "7.5", "15360", "535.104.05", "70.00", "1590")


@pytest.mark.parametrize("reason", REASONS)
@pytest.mark.parametrize("place", range(len(FIELDS)))
def test_a_value_that_is_not_there_is_none_with_the_reason(reason: str, place: int) -> None:
    row = [*ROW]
    row[place] = f"[{reason}]"
    (card,) = parse_cards(", ".join(row) + "\n")
    known = {name: getattr(card, name) for name in FIELDS if getattr(card, name) is not None}
    assert set(known) == set(FIELDS) - {FIELDS[place]}
    assert card.unknown == {FIELDS[place]: reason}


@pytest.mark.parametrize(
    "word", ["", "12;5 W", "ERR!", "1e", "²", "nan", "inf", "-1", "9" * 5000, "\N{SNOWMAN}"]
)
def test_odd_text_is_no_number(word: str) -> None:
    for place in (2, 4, 5):
        row = [*ROW]
        row[place] = word
        (card,) = parse_cards(",".join(row))
        assert getattr(card, FIELDS[place]) is None
        assert card.unknown == {FIELDS[place]: word or "empty"}


def test_units_behind_a_number_are_read() -> None:
    (card,) = parse_cards("NVIDIA A10, 8.6, 23028 MiB, 535.1, 150.50 W, 1695 MHz\n")
    assert (card.memory_mib, card.power_limit_w, card.max_sm_mhz) == (23028, 150.5, 1695)


@pytest.mark.parametrize(
    "text",
    [
        "No devices were found\n",
        "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 550.54\n",
        "Failed to initialize NVML: Unknown Error\n",
        "Unable to determine the device handle for GPU0000:01:00.0: Unknown Error\n",
        "Tesla T4, 15360\n",
        "a, b, c, d, e, f, g\n",
        "name, compute_cap, memory.total [MiB], driver_version, power.limit [W], clocks.max.sm [MHz]\n",
        "a, b, c, d, e, f, g, h\n",
    ],
)
def test_a_message_or_other_columns_are_no_card_but_a_reason(text: str) -> None:
    assert parse_cards(text) == ()
    assert why_no_card(text) == f"nvidia-smi: {text.splitlines()[0]}"


def test_no_output_is_no_reason() -> None:
    assert why_no_card("") is None


def test_of_two_cards_the_lost_one_does_not_hide_the_other() -> None:
    lost = ", ".join(["[GPU is lost]"] * 7)
    cards = parse_cards(f"{', '.join(ROW)}\n{lost}\nWARNING: infoROM is corrupted at gpu 0000:01:00.0\n")
    assert [card.name for card in cards] == ["Tesla T4", None]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The place of a script that stands for ``nvidia-smi``."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return tmp_path / "nvidia-smi"


def write(program: Path, script: str) -> None:
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'No devices were found'; exit 6", "No devices were found"),
        ("echo 'NVIDIA-SMI has failed' >&2; exit 9", "NVIDIA-SMI has failed"),
        ("exit 9", "failed with exit status 9"),
        ("sleep 30 & sleep 30", "no answer in 0.2 s"),
        (r"printf '\377\376\000'", "\ufffd"),
    ],
)
def test_a_program_that_fails_or_hangs_is_a_reason(
    program: Path, script: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "sleep" in script:
        monkeypatch.setattr(nvidia, "_TIMEOUT_S", 0.2)
    write(program, script)
    text = query_cards()
    assert parse_cards(text) == ()
    assert said in (why_no_card(text) or "")


def test_a_program_that_cannot_be_started_is_a_reason(program: Path) -> None:
    program.write_bytes(b"\x7fELF not really")
    program.chmod(0o755)
    assert "cannot be started: Exec format error" in query_cards()


def test_an_old_driver_is_asked_again_without_the_fields_that_it_lacks(program: Path) -> None:
    write(
        program,
        """case "$1" in
*compute_cap*) echo 'Field "compute_cap" is not a valid field to query.'; exit 2;;
*mig.mode*) echo 'Field "mig.mode.current" is not a valid field to query.'; exit 2;;
esac
echo 'Tesla V100-SXM2-16GB, 16160, 470.57.02, 300.00, 1530'""",
    )
    (card,) = parse_cards(query_cards())
    assert (card.name, card.compute_capability, card.memory_mib) == ("Tesla V100-SXM2-16GB", None, 16160)
    assert card.unknown == {"compute_capability": "Not Supported"}
