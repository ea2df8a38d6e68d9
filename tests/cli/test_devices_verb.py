"""``edgestill devices``."""

from __future__ import annotations

import json

import pytest
from rich.console import Console

from devices.profile import profile_names
from edgestill.cli.main import main
from edgestill.cli.verbs import devices


def output(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    assert main(["devices", *words]) == 0
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def test_all_devices_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    listed = output(capsys)["devices"]
    assert isinstance(listed, list)
    assert [row["key"] for row in listed] == list(profile_names())


def test_one_device_is_described_with_its_sources(capsys: pytest.CaptureFixture[str]) -> None:
    device = output(capsys, "jetson-nano")["device"]
    assert isinstance(device, dict)
    assert device["memory_mib"] == 4096
    assert device["sources"]
    assert device["runs_now_with"] == ["ort"]


def test_jetpack_5_runs_no_tensorrt_here(capsys: pytest.CaptureFixture[str]) -> None:
    device = output(capsys, "jetson-xavier-nx")["device"]
    assert isinstance(device, dict)
    assert device["runs_now_with"] == ["ort"]


def test_this_machine_is_described(capsys: pytest.CaptureFixture[str]) -> None:
    machine = output(capsys, "here")["machine"]
    assert isinstance(machine, dict)
    assert machine["cpu"]["cores"] > 0


def test_an_unknown_device_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["devices", "jetson-nanno"]) == 2
    wanted = "edgestill devices: no device is called 'jetson-nanno'\n  hint: did you mean 'jetson-nano'?\n"
    assert capsys.readouterr().err == wanted


@pytest.mark.parametrize(
    ("words", "shown"), [([], "jetson-orin-nano"), (["v100"], "DP4A"), (["here"], "cpu.cores")]
)
def test_a_person_gets_a_table(words: list[str], shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = output(capsys, *words)
    console = Console(width=200, record=True, file=None, quiet=False)
    console.print(devices.show(found))
    assert shown in console.export_text()
