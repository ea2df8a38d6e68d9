"""Machines are recognised from recorded file trees."""

from __future__ import annotations

from pathlib import Path

import pytest

from devices.detect import DeviceSnapshot, detect
from devices.linux import read_cpu, read_cpu_times, read_memory
from devices.nvidia import parse_cards

EPYC = {
    "proc/cpuinfo": "".join(
        f"processor\t: {i}\nmodel name\t: AMD EPYC\ncpu MHz\t: 2596.132\n"
        "flags\t: fpu avx2 avx512_vnni hypervisor\n\n"
        for i in range(4)
    ),
    "proc/meminfo": "MemTotal:       24684016 kB\nMemAvailable:   12000000 kB\n",
    "proc/self/status": "Name:\tx\nCpus_allowed_list:\t0-1,3\n",
    "proc/loadavg": "0.43 0.33 0.19 1/92 7044\n",
    "proc/stat": "cpu  100 0 50 800 10 0 10 30 0 0\ncpu0 1 1\n",
    "proc/sys/kernel/osrelease": "6.1.0\n",
    "etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
}
# What Linux for Tegra shows on an Orin Nano developer kit in Super mode, JetPack 6.
ORIN_NANO = {
    "proc/device-tree/compatible": "nvidia,p3768-0000+p3767-0005-super\0nvidia,p3767-0005\0nvidia,tegra234\0",
    "proc/device-tree/model": "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super\0",
    "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, "
    "DATE: Wed Jan  8 01:49:37 UTC 2025\n# KERNEL_VARIANT: oot\n",
    "etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=15W >\n< POWER_MODEL ID=2 NAME=MAXN_SUPER >\n",
    "var/lib/nvpmodel/status": "pmode:0002 fmode:cool\n",
    "sys/class/devfreq/17000000.gpu/min_freq": "306000000\n",
    "sys/class/devfreq/17000000.gpu/max_freq": "1020000000\n",
    "sys/class/devfreq/17000000.gpu/cur_freq": "612000000\n",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "57125\n",
    "sys/class/thermal/thermal_zone1/type": "cv0-thermal\n",
    "sys/class/thermal/thermal_zone1/temp": "-256000\n",
    "sys/class/thermal/thermal_zone2/type": "PMIC-Die\n",
    "sys/class/thermal/thermal_zone2/temp": "100000\n",
    "proc/cpuinfo": "processor\t: 0\nFeatures\t: fp asimdhp asimddp\nCPU part\t: 0xd42\n",
    "proc/meminfo": "MemTotal: 7802916 kB\n",
}
# JetPack 4 keeps carrier and module in one string and names the mode file the same.
NANO = {
    "proc/device-tree/compatible": "nvidia,jetson-nano\0nvidia,p3449-0000-b00+p3448-0000-b00\0"
    "nvidia,tegra210\0",
    "proc/device-tree/model": "NVIDIA Jetson Nano Developer Kit\0",
    "etc/nv_tegra_release": "# R32 (release), REVISION: 7.1, GCID: 29689809, BOARD: t186ref, EABI: aarch64, "
    "DATE: Wed Feb  2 21:33:23 UTC 2022\n",
    "sys/class/devfreq/57000000.gpu/min_freq": "921600000\n",
    "sys/class/devfreq/57000000.gpu/max_freq": "921600000\n",
}
V100 = "Tesla V100-SXM2-16GB, 7.0, 16384, 550.54.15, 300.00, 1530\n"
H200 = "NVIDIA H200, 9.0, 143771, 570.86.15, [N/A], 1980\n"


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def seen(root: Path, arch: str = "x86_64", cards: str = "") -> DeviceSnapshot:
    return detect(root, arch=arch, cards=lambda: cards)


def test_a_pc_is_the_class_of_its_instruction_sets(tmp_path: Path) -> None:
    found = seen(tree(tmp_path, EPYC))
    assert (found.key, found.kind, found.title) == ("x86-avx512-vnni", "cpu", "AMD EPYC, 4 cores")


def test_a_pc_that_hides_its_instruction_sets_is_the_generic_class(tmp_path: Path) -> None:
    assert seen(tmp_path).key == "generic-x86"


def test_the_system_is_named(tmp_path: Path) -> None:
    assert seen(tree(tmp_path, EPYC)).system == "Debian GNU/Linux 12 (bookworm), kernel 6.1.0"


def test_affinity_and_instruction_sets_are_read(tmp_path: Path) -> None:
    cpu = read_cpu(tree(tmp_path, EPYC))
    assert (cpu.cores, cpu.allowed_cores, cpu.flags, cpu.hypervisor) == (4, 3, ("avx2", "avx512_vnni"), True)


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        pytest.param({"proc/self/cgroup": "0::/\n"}, None, id="no-file"),
        pytest.param(
            {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, None, id="v2-max"
        ),
        pytest.param(
            {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5, id="v2"
        ),
        pytest.param(
            {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/b/cpu.max": "400000 100000\n",
                "sys/fs/cgroup/a/cpu.max": "200000 100000\n",
            },
            2.0,
            id="v2-the-tightest-above-counts",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "3:cpu,cpuacct:/docker/x\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            0.5,
            id="v1",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "3:cpu:/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            None,
            id="v1-none",
        ),
    ],
)
def test_the_cpu_quota_of_a_container_is_read(
    tmp_path: Path, files: dict[str, str], cores: float | None
) -> None:
    assert read_cpu(tree(tmp_path, EPYC | files)).quota_cores == cores


@pytest.mark.parametrize(
    ("limit", "mib"),
    [
        pytest.param("2147483648\n", 2048, id="2-GiB"),
        pytest.param("max\n", None, id="v2-none"),
        pytest.param("9223372036854771712\n", None, id="v1-none"),
    ],
)
def test_the_memory_limit_of_a_container_is_read(tmp_path: Path, limit: str, mib: int | None) -> None:
    files = {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": limit}
    memory = read_memory(tree(tmp_path, EPYC | files))
    assert (memory.total_mib, memory.limit_mib) == (24105, mib)


def test_idle_and_stolen_time_are_read(tmp_path: Path) -> None:
    times = read_cpu_times(tree(tmp_path, EPYC))
    assert times is not None
    assert (times.total, times.idle, times.steal) == (1000, 810, 30)


def test_an_orin_nano_is_known_by_its_module(tmp_path: Path) -> None:
    found = seen(tree(tmp_path, ORIN_NANO), "aarch64")
    assert (found.key, found.kind) == ("jetson-orin-nano-super", "jetson")


def test_a_jetson_tells_release_mode_and_clocks(tmp_path: Path) -> None:
    jetson = seen(tree(tmp_path, ORIN_NANO), "aarch64").jetson
    assert jetson is not None
    assert (jetson.l4t, jetson.power_mode, jetson.super_mode) == ("36.4.3", "MAXN_SUPER", True)
    assert (jetson.clocks_locked, jetson.gpu_mhz) == (False, 612.0)


def test_units_that_are_off_and_constants_are_no_temperatures(tmp_path: Path) -> None:
    assert seen(tree(tmp_path, ORIN_NANO), "aarch64").temperatures_c == {"cpu-thermal": 57.125}


def test_the_arm_core_is_named(tmp_path: Path) -> None:
    assert seen(tree(tmp_path, ORIN_NANO), "aarch64").cpu.model == "ARM Cortex-A78AE"


def test_a_nano_of_jetpack_4_is_known(tmp_path: Path) -> None:
    found = seen(tree(tmp_path, NANO), "aarch64")
    assert found.key == "jetson-nano"
    assert found.jetson is not None
    assert (found.jetson.l4t, found.jetson.clocks_locked, found.jetson.power_mode) == ("32.7.1", True, None)


def test_the_stub_of_nvidia_smi_on_a_jetson_is_not_asked(tmp_path: Path) -> None:
    stub = "Orin (nvgpu), [N/A], [N/A], 540.4.0, [N/A], [N/A]\n"
    assert seen(tree(tmp_path, ORIN_NANO), "aarch64", stub).gpus == ()


def test_a_v100_is_known_by_its_name(tmp_path: Path) -> None:
    found = seen(tree(tmp_path, EPYC), cards=V100)
    assert (found.key, found.kind, found.title) == ("v100", "gpu", "Tesla V100-SXM2-16GB + AMD EPYC, 4 cores")


def test_a_card_without_a_profile_has_no_key(tmp_path: Path) -> None:
    found = seen(tree(tmp_path, EPYC), cards=H200.replace("H200", "B200"))
    assert (found.key, found.kind) == (None, "gpu")


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("V100", "v100"),
        ("Tesla V100-SXM2-32GB", "v100"),
        ("NVIDIA V100-SXM2-16GB", "v100"),
        ("Tesla V100-SXM3-32GB", "v100"),
        ("Tesla V100-SXM3-32GB-H", "v100"),
        ("Tesla V100-DGXS-32GB", "v100"),
        ("GRID V100DX-16Q", "v100"),
        ("Tesla V100-PCIE-16GB", "v100-pcie"),
        ("Tesla V100-FHHL-16GB", "v100-pcie"),
        ("GRID V100-8Q", "v100-pcie"),
        ("GRID V100L-16Q", "v100-pcie"),
        ("Tesla V100S-PCIE-32GB", "v100s-pcie"),
        ("GRID V100S-32Q", "v100s-pcie"),
    ],
)
@pytest.mark.parametrize("capability", ["7.0", "[N/A]"])
def test_a_v100_is_known_by_its_names(tmp_path: Path, name: str, key: str, capability: str) -> None:
    found = seen(tree(tmp_path, EPYC), cards=f"{name}, {capability}, 32768, 535.1, [N/A], 1530\n")
    assert (found.key, found.no_profile) == (key, None)


@pytest.mark.parametrize(
    ("name", "capability"),
    [
        ("Quadro GV100", "7.0"),
        ("NVIDIA TITAN V", "7.0"),
        ("Tesla V100-SXM2-16GB", "7.5"),
        ("NVIDIA GeForce RTX 4070 Laptop GPU", "8.9"),
    ],
)
def test_a_card_of_another_name_or_capability_stays_unknown_and_says_so(
    tmp_path: Path, name: str, capability: str
) -> None:
    found = seen(tree(tmp_path, EPYC), cards=f"{name}, {capability}, 32768, 535.1, 250.00, 1530\n")
    assert (found.key, found.kind) == (None, "gpu")
    assert found.no_profile == f"no profile describes {name} (compute capability {capability})"


def thor(compatible: str, model: str, gib: float) -> dict[str, str]:
    return {
        "proc/device-tree/compatible": compatible,
        "proc/device-tree/model": model,
        "etc/nv_tegra_release": "# R38 (release), REVISION: 2.0, GCID: 1, BOARD: generic, EABI: aarch64\n",
        "proc/meminfo": f"MemTotal: {int(gib * 2**20)} kB\n",
    }


KIT = "nvidia,p4071-0000+p3834-0008\0nvidia,p3834-0008\0nvidia,tegra264\0"


@pytest.mark.parametrize(
    ("files", "key"),
    [
        pytest.param(
            thor(KIT, "NVIDIA Jetson AGX Thor Developer Kit\0", 122.8), "jetson-thor-t5000", id="kit"
        ),
        pytest.param(thor("a,b\0nvidia,p3834-0000\0", "X\0", 60), "jetson-thor-t4000", id="t4000-module"),
        pytest.param(thor("nvidia,tegra264\0", "Jetson Thor\0", 61), "jetson-thor-t4000", id="by-memory"),
        pytest.param(thor("nvidia,tegra264\0", "Jetson Thor\0", 20), None, id="no-known-memory"),
        pytest.param(thor("nvidia,tegra234\0", "Jetson AGX Orin\0", 30), "jetson-agx-orin-32gb", id="orin"),
        pytest.param(thor("nvidia,p9999-0000\0", "Jetson AGX Orin\0", 30), None, id="another-module"),
    ],
)
def test_thor_and_boards_of_other_makers_are_known(
    tmp_path: Path, files: dict[str, str], key: str | None
) -> None:
    found = seen(tree(tmp_path, files), "aarch64")
    assert (found.key, found.kind) == (key, "jetson")
    assert (found.no_profile is None) == (key is not None)


@pytest.mark.parametrize("capability", ["11.0", "10.1"])
def test_thor_is_known_in_a_container_without_a_device_tree(tmp_path: Path, capability: str) -> None:
    files = {"proc/meminfo": f"MemTotal: {122 * 2**20} kB\n"}
    cards = f"NVIDIA Thor, {capability}, [N/A], 580.00, [N/A], 1575\n"
    assert seen(tree(tmp_path, files), "aarch64", cards).key == "jetson-thor-t5000"


@pytest.mark.parametrize(
    ("kernel", "is_jetson"),
    [
        ("4.9.337-tegra", True),
        ("5.15.148-tegra", True),
        ("6.8.12-1021-tegra", True),
        ("6.8.0-generic", False),
    ],
)
def test_a_container_without_a_device_tree_is_on_a_jetson_by_its_kernel(
    tmp_path: Path, kernel: str, is_jetson: bool
) -> None:
    found = seen(tree(tmp_path, {"proc/sys/kernel/osrelease": f"{kernel}\n", ".dockerenv": ""}), "aarch64")
    assert (found.kind, found.container) == ("jetson" if is_jetson else "cpu", True)
    assert found.no_profile
    if is_jetson:
        assert (found.title, found.jetson and found.jetson.l4t) == ("Jetson", None)


def test_thor_in_such_a_container_is_a_jetson_with_its_profile(tmp_path: Path) -> None:
    files = {"proc/meminfo": f"MemTotal: {122 * 2**20} kB\n", "proc/sys/kernel/osrelease": "6.8.12-tegra\n"}
    found = seen(tree(tmp_path, files), "aarch64", "NVIDIA Thor, 11.0, [N/A], 580.00, [N/A], 1575\n")
    assert (found.key, found.kind) == ("jetson-thor-t5000", "jetson")


@pytest.mark.parametrize("text", ["No devices were found\n", "Failed to initialize NVML: Unknown Error\n"])
def test_what_nvidia_smi_says_instead_of_cards_is_kept(tmp_path: Path, text: str) -> None:
    found = seen(tree(tmp_path, EPYC), cards=text)
    assert (found.key, found.gpus, found.no_gpu) == ("x86-avx512-vnni", (), f"nvidia-smi: {text.strip()}")


READ = (
    "proc/cpuinfo", "proc/meminfo", "proc/self/status", "proc/loadavg", "proc/stat", "proc/self/cgroup",
    "proc/sys/kernel/osrelease", "etc/os-release", "etc/nv_tegra_release", "etc/nvpmodel.conf",
    "var/lib/nvpmodel/status", "sys/fs/cgroup/cpu.max", "sys/fs/cgroup/memory.max",
    "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "sys/fs/cgroup/cpu/cpu.cfs_period_us",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "proc/device-tree/compatible",
    "sys/class/devfreq/17000000.gpu/cur_freq", "sys/class/devfreq/17000000.gpu/min_freq",
    "sys/class/thermal/thermal_zone0/type", "sys/class/thermal/thermal_zone0/temp",
)  # fmt: skip
ODD = {
    "empty": b"",
    "a word": b"<unsupported>\n",
    "bytes": b"\xff\xfe\x00\x80",
    "colons": b"MemTotal:\nMemAvailable: kB\ncpu MHz\t:\nCpus_allowed_list:\n",
    "decimal comma": b"MemTotal: 1,5 GB\ncpu MHz : 2596,132\n0,43 0,33\n",
    "huge": b"9" * 5000,
    "zeros": b"0 0 0\n",
    "other digits": "\u00b2\u0663 \u00b2\n".encode(),
    "cpu line": b"cpu  x y\ncpu",
    "half a line": b"0:\n:::\n3\npmode:\n# R (release), REVISION: ,\n< POWER_MODEL ID= NAME= >\n",
}


@pytest.mark.parametrize("odd", ODD)
def test_odd_text_in_any_system_file_is_unknown_and_no_error(tmp_path: Path, odd: str) -> None:
    """Each file alone among good ones, and all together, as in a container that hides them."""
    for name in (*READ, None):
        root = tmp_path / (name or "all").replace("/", "-")
        tree(root, EPYC | ORIN_NANO | {"proc/self/cgroup": "0::/\n3:cpu:/\n"})
        for path in [name] if name else READ:
            place = root / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(ODD[odd])
        assert seen(root, "aarch64").arch == "aarch64"
        read_cpu_times(root)


def test_folders_in_the_place_of_files_are_unknown(tmp_path: Path) -> None:
    for name in READ:
        (tmp_path / name).mkdir(parents=True)
    found = seen(tmp_path, "x86_64")
    assert (found.cpu.mhz, found.memory.total_mib, found.load) == (None, None, None)


def test_what_the_driver_does_not_say_is_unknown() -> None:
    (card,) = parse_cards(H200)
    assert (card.name, card.memory_mib, card.power_limit_w) == ("NVIDIA H200", 143771, None)


def test_an_error_message_is_no_card() -> None:
    assert parse_cards("NVIDIA-SMI has failed because it couldn't communicate with the driver.\n") == ()


def test_a_machine_that_tells_nothing_is_unknown_and_no_error(tmp_path: Path) -> None:
    found = seen(tmp_path, "riscv64")
    assert (found.key, found.cpu.cores, found.memory.total_mib, found.load) == (None, None, None, None)


def test_this_machine_can_be_looked_at() -> None:
    assert detect().cpu.cores
