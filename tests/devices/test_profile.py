"""Every device file loads, names a source for each figure, and a wrong one says which field."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from devices import profile
from devices.profile import DeviceProfile, load_profile, load_profiles
from edgestill.errors import DeviceError, UsageError
from tests.devices.machines import MACHINES

GOOD = """
family = "Boards"
kind = "jetson"
backends = ["ort"]
precisions = ["fp32"]
notes = ["of the family"]

[[facts]]
source = "data sheet"
memory_mib = 4096
ops_per_clock.fp32 = 256

[[device]]
key = "board"
title = "Board"
notes = ["of the board"]

[[device.facts]]
source = "a forum"
unverified = true
sms = 4
gpu_mhz = 1000
power_modes = [
    { name = "MAXN", id = 0, gpu_mhz = 1000 },
    { name = "15W", gpu_mhz = 500, bandwidth_gb_s = 10 },
    { name = "7W" },
]
"""

WORDS = {"key", "family", "title", "kind", "backends", "precisions", "sources", "unverified", "notes"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(profile, "FOLDER", tmp_path)
    return tmp_path


def written(folder: Path, text: str = GOOD) -> DeviceProfile:
    (folder / "boards.toml").write_text(text)
    profile._profiles.cache_clear()
    return load_profile("board")


@pytest.mark.parametrize("device", load_profiles(), ids=lambda device: device.key)
def test_every_figure_has_a_source(device: DeviceProfile) -> None:
    figures = {name for name in DeviceProfile.__slots__ if name not in WORDS and getattr(device, name)}
    lacking = figures - {figure.partition(".")[0] for figure in device.sources}
    assert lacking <= {"gpu_names"}  # a card without them is called by its title
    assert set(device.unverified) <= set(device.sources)


@pytest.mark.parametrize("device", load_profiles(), ids=lambda device: device.key)
def test_every_device_can_be_recognised(device: DeviceProfile) -> None:
    ways = device.modules or device.gpu_names or device.boards or device.cpu_flags
    assert ways or device.key == "generic-x86"
    for pattern in (*device.boards, *device.gpu_names):
        re.compile(pattern)


def test_modules_are_told_apart_by_part_number_super_device_tree_or_memory() -> None:
    claims = Counter((module, p.super_mode, p.memory_mib) for p in load_profiles() for module in p.modules)
    assert claims.most_common(1)[0][1] == 1


def test_cards_of_one_name_are_told_apart_by_memory() -> None:
    claims = Counter((name, p.memory_mib) for p in load_profiles() for name in p.gpu_names)
    assert claims.most_common(1)[0][1] == 1


def test_a_recorded_machine_stands_for_each_family_of_boards() -> None:
    recorded = {load_profile(machine.key).family for machine in MACHINES if machine.key}
    boards = {p.family for p in load_profiles() if p.kind != "gpu"}
    assert boards <= recorded


def test_every_jetson_has_its_software_and_memory() -> None:
    for device in load_profiles():
        if device.kind == "jetson":
            assert device.memory_mib, device.key
            assert {"jetpack", "cuda", "tensorrt", "python"} <= set(device.software), device.key


# Peaks that vendors publish, dense: NVIDIA's data sheets and architecture papers.
PUBLISHED = {
    "v100": {"fp32": 15.7, "fp16_tensor": 125, "int8_dp4a": 62.8},
    "v100-pcie": {"fp32": 14, "fp16_tensor": 112},
    "t4": {"fp32": 8.1, "fp16_tensor": 65, "int8_tensor": 130},
    "a10": {"fp32": 31.2, "tf32": 62.5, "fp16_tensor": 125, "int8_tensor": 250},
    "a100-40gb": {"fp32": 19.5, "tf32": 156, "fp16_tensor": 312, "int8_tensor": 624},
    "l4": {"fp32": 30.3, "tf32": 60, "fp16_tensor": 121, "int8_tensor": 242},
    "h100-sxm": {"fp32": 67, "fp16_tensor": 989, "int8_tensor": 1979},
    "rtx-2080-ti": {"fp32": 13.4, "fp16_tensor": 107.6, "int8_tensor": 215},
    "rtx-3090": {"fp32": 35.6, "tf32": 35.6, "fp16_tensor": 142, "int8_tensor": 284},
    "rtx-4090": {"fp32": 82.6, "fp16_tensor": 330, "int8_tensor": 660},
    "rtx-5090": {"fp32": 104.8, "fp16_tensor": 419, "int8_tensor": 838},
    "gtx-1080": {"fp32": 8.87, "int8_dp4a": 35.5},
    "jetson-nano": {"fp32": 0.236, "fp16_cuda": 0.472},
    "jetson-agx-xavier": {"fp16_tensor": 11.3, "int8_tensor": 22.6},
    "jetson-orin-nano": {"int8_tensor": 20},
    "jetson-orin-nano-4gb": {"int8_tensor": 10},
    "jetson-orin-nano-super": {"int8_tensor": 33.5},
    "jetson-agx-orin": {"fp32": 5.3, "int8_tensor": 85.5},
    "jetson-thor-t5000": {"fp32": 8},
    "raspberry-pi-5": {"fp32": 0.154},
}


@pytest.mark.parametrize("key", PUBLISHED)
def test_computed_peaks_are_those_that_vendors_publish(key: str) -> None:
    peaks = load_profile(key).peaks
    assert {unit: peaks[unit] for unit in PUBLISHED[key]} == pytest.approx(PUBLISHED[key], rel=0.03)  # type: ignore[index]


def test_a_super_module_is_faster_than_the_same_without() -> None:
    for device in load_profiles():
        if device.super_mode and device.peaks:
            plain = load_profile(device.key.removesuffix("-super"))
            assert device.peaks["fp32"] > plain.peaks["fp32"], device.key


@pytest.mark.parametrize(
    ("key", "precisions"),
    [
        ("jetson-nano", ("fp32", "fp16")),
        ("jetson-orin-nano", ("fp32", "fp16", "int8")),
        ("v100", ("fp32", "fp16")),  # DP4A has half of the rate of FP16
        ("t4", ("fp32", "fp16", "int8")),
        ("gtx-1080", ("fp32", "int8")),  # FP16 at 1/64 of the rate of FP32
        ("x86-avx2", ("fp32",)),
        ("x86-avx512-vnni", ("fp32", "int8")),
    ],
)
def test_a_precision_pays_off_where_its_unit_is_faster(key: str, precisions: tuple[str, ...]) -> None:
    assert load_profile(key).pays_off() == precisions


def test_a_power_mode_has_its_clock_bandwidth_and_peaks(folder: Path) -> None:
    board = written(folder)
    slow = board.in_mode("15W")
    assert (slow.gpu_mhz, slow.bandwidth_gb_s) == (500, 10)
    assert slow.peaks["fp32"] == pytest.approx(board.peaks["fp32"] / 2) == pytest.approx(0.512)
    assert board.in_mode("MODE_15W") == slow  # the same mode, as another release calls it


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("16W", "no power mode of board is called '16W'"),
        ("7W", "clock of board in power mode 7W is not known"),
    ],
)
def test_a_power_mode_without_a_clock_is_an_error(folder: Path, mode: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        written(folder).in_mode(mode)


def test_an_unknown_key_gets_a_suggestion() -> None:
    with pytest.raises(UsageError, match=r"(?s)jetson-nan0.*did you mean 'jetson-nano'"):
        load_profile("jetson-nan0")


def test_figures_of_family_and_device_are_joined_with_their_sources(folder: Path) -> None:
    board = written(folder)
    assert (board.family, board.memory_mib, board.sms) == ("Boards", 4096, 4)
    assert board.notes == ("of the family", "of the board")
    assert board.sources["ops_per_clock.fp32"] == "data sheet"
    assert (board.sources["sms"], board.unverified) == ("a forum", ("gpu_mhz", "power_modes", "sms"))


def test_a_figure_of_the_device_replaces_the_one_of_its_family_and_its_source(folder: Path) -> None:
    board = written(
        folder, GOOD + '\n[[device.facts]]\nsource = "a lab"\nmemory_mib = 2048\nops_per_clock.tf32 = 9\n'
    )
    assert (board.memory_mib, board.sources["memory_mib"]) == (2048, "a lab")
    assert board.ops_per_clock == {"fp32": 256, "tf32": 9}


def test_a_peak_from_an_unverified_figure_is_unverified(folder: Path) -> None:
    assert written(folder).unverified_peaks == {"fp32"}
    assert written(folder, GOOD.replace("unverified = true\n", "")).unverified_peaks == set()


@pytest.mark.parametrize(
    ("good", "bad", "message"),
    [
        pytest.param("title =", "heading =", "board: missing, unknown.*: heading, title", id="name"),
        pytest.param("sms = 4", "cores = 4", "unknown.*: cores", id="figure"),
        pytest.param('title = "Board"', 'title = "Board"\nsms = 2', "without a source: sms", id="no-source"),
        pytest.param('source = "a forum"\n', "", "facts without a source", id="facts-without-source"),
        pytest.param("sms = 4", "sms = 4\nops_per_clock = 3", "ops_per_clock = 3", id="not-by-unit"),
        pytest.param("4096", '"4 GB"', "memory_mib = '4 GB'", id="type"),
        pytest.param("4096", "true", "memory_mib = True", id="bool"),
        pytest.param('"jetson"', '"phone"', "kind = 'phone'", id="kind"),
        pytest.param('["ort"]', '["torch"]', r"backends = \['torch'\]", id="backend"),
        pytest.param('["fp32"]', '["int4"]', r"precisions = \['int4'\]", id="precision"),
        pytest.param('["of the board"]', "[1]", r"notes = \['of the family', 1\]", id="list-of-numbers"),
        pytest.param('name = "MAXN"', 'nam = "MAXN"', "wrong value in: power_modes", id="mode"),
        pytest.param("clock.fp32", "clock.fp8", "wrong value in: ops_per_clock", id="unit"),
        pytest.param('"Board"', "Board", "is not TOML", id="no-toml"),
    ],
)
def test_a_wrong_file_is_named_with_its_field(folder: Path, good: str, bad: str, message: str) -> None:
    with pytest.raises(DeviceError, match=rf"boards\.toml.*{message}"):
        written(folder, GOOD.replace(good, bad))


def test_a_figure_twice_at_one_level_is_an_error(folder: Path) -> None:
    with pytest.raises(DeviceError, match="sms stands twice"):
        written(folder, GOOD + '\n[[device.facts]]\nsource = "a lab"\nsms = 5\n')
