"""``edgestill devices``."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path

import pytest
from rich.console import Console

from devices.detect import detect
from devices.profile import profile_names
from edgestill.cli.main import main
from edgestill.cli.verbs import devices
from tests.devices.machines import MACHINES, Machine


def output(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    assert main(["devices", *words]) == 0
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def test_all_devices_are_listed_by_family(capsys: pytest.CaptureFixture[str]) -> None:
    listed = output(capsys)["devices"]
    assert isinstance(listed, list)
    assert {row["key"] for row in listed} == set(profile_names())
    families = [row["family"] for row in listed]
    assert len([*groupby(families)]) == len(set(families))


def test_a_device_is_listed_with_what_a_choice_needs(capsys: pytest.CaptureFixture[str]) -> None:
    listed = output(capsys)["devices"]
    assert isinstance(listed, list)
    v100 = next(row for row in listed if row["key"] == "v100")
    assert (v100["tensorrt"], v100["pays_off"], v100["memory_mib"]) == ("10.4", ["fp32", "fp16"], 16384)
    assert v100["peaks"]["int8"] == {
        "unit": "int8_dp4a",
        "peak": pytest.approx(62.7, 0.01),
        "unverified": False,
    }


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


def printed(capsys: pytest.CaptureFixture[str], width: int, *words: str) -> str:
    found = output(capsys, *words)
    console = Console(width=width, record=True, file=None, quiet=False)
    console.print(devices.show(found))
    return console.export_text()


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_of_devices_cuts_no_key_and_no_figure(
    width: int, capsys: pytest.CaptureFixture[str]
) -> None:
    text = printed(capsys, width)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    row = next(line.split() for line in text.splitlines() if line.split()[:1] == ["v100"])
    assert row == ["v100", "16", "GB", "15.7", "125", "(62.7)", "10.4"]


@pytest.mark.parametrize("key", profile_names())
def test_every_device_is_shown_whole_at_80_columns(key: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, 80, key)
    assert "…" not in text
    assert f"({key})" in text


def test_a_figure_has_the_number_of_its_source_and_a_mark_where_it_is_not_verified(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = printed(capsys, 120, "jetson-agx-xavier-8gb").splitlines()
    clock = next(line for line in lines if "GPU clock" in line)
    number = clock.split()[-1]
    assert "~1100 MHz" in clock
    assert any(line.startswith(f"{number} developer.nvidia.com/embedded/jetson-modules") for line in lines)
    assert any("peak FP32" in line and "~0.845 TFLOPS" in line for line in lines)


def test_this_machine_is_shown_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert "memory" in printed(capsys, 80, "here")


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
def test_every_recorded_machine_is_shown(
    machine: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = detect(machine.write(tmp_path), arch=machine.arch, cards=lambda: machine.cards)
    monkeypatch.setattr(devices, "detect", lambda: found)
    text = printed(capsys, 80, "here")
    assert (machine.key or "unknown") in text
    if machine.jetson and machine.jetson.get("power_mode"):
        assert machine.jetson["power_mode"] in text
