"""Each recorded machine is recognised, with its release, mode and clocks."""

from __future__ import annotations

from pathlib import Path

import pytest

from devices.detect import DeviceSnapshot, detect
from tests.devices.machines import MACHINES, Machine

pytestmark = pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)


def seen(machine: Machine, root: Path) -> DeviceSnapshot:
    return detect(machine.write(root), arch=machine.arch, cards=lambda: machine.cards)


def test_the_machine_is_recognised(machine: Machine, tmp_path: Path) -> None:
    found = seen(machine, tmp_path)
    assert (found.key, found.kind) == (machine.key, machine.kind)
    assert (found.no_profile is None) == (machine.key is not None)
    assert (found.part_of_card is not None) == machine.part


def test_release_mode_and_clocks_of_a_jetson_are_read(machine: Machine, tmp_path: Path) -> None:
    jetson = seen(machine, tmp_path).jetson
    assert (jetson is None) == (machine.jetson is None)
    for name, value in (machine.jetson or {}).items():
        assert getattr(jetson, name) == value, name
