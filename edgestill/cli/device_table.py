"""Tables of ``edgestill devices``: all devices by family, one device with its sources, this machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

PRECISIONS = ("fp32", "fp16", "int8")
LEGEND = (
    "Peaks in TFLOPS, of int8 in TOPS, without sparsity. (in brackets): slower than a wider precision. "
    "~ not verified. yes: computes in it, no peak known. TensorRT: the last version for the device.\n"
    "edgestill devices KEY: one device with its sources. edgestill doctor --for KEY: what can run there."
)
_NAMES = {
    "fp32": "FP32",
    "tf32": "TF32",
    "fp16_cuda": "FP16 (CUDA cores)",
    "fp16_tensor": "FP16 (tensor cores)",
    "fp16_simd": "FP16",
    "int8_dp4a": "INT8 (DP4A)",
    "int8_tensor": "INT8 (tensor cores)",
    "int8_simd": "INT8",
}


def all_devices(rows: Sequence[Mapping[str, Any]]) -> Group:
    """One table, with a section for each family.

    Args:
        rows: The devices as in the JSON of the verb, each family in one piece.
    """
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), title="Known devices", show_edge=False)
    table.add_column("device", no_wrap=True)
    table.add_column("memory", justify="right", no_wrap=True)
    for precision in PRECISIONS:
        table.add_column(precision, justify="right", no_wrap=True)
    table.add_column("TensorRT", justify="right", no_wrap=True)
    family = None
    for row in rows:
        if row["family"] != family:
            family = row["family"]
            capability = row["compute_capability"]
            sm = f" (sm_{capability.replace('.', '')})" if capability else ""
            table.add_row(Text(f"{family}{sm}", "bold"))
        table.add_row(
            Text(f"  {row['key']}"),
            _memory(row["memory_mib"]),
            *(_peak(row, precision) for precision in PRECISIONS),
            row["tensorrt"] or ("-" if row["kind"] == "cpu" else "newest"),
        )
    return Group(table, Text(f"\n{LEGEND}", "dim"))


def one_device(facts: Mapping[str, Any]) -> Group:
    """Its figures with the numbers of their sources, its power modes and software, then notes and sources."""
    sources = list(dict.fromkeys(facts["sources"].values()))
    table = _facts_table(f"{facts['title']} ({facts['key']})")

    def add(label: str, value: str, *figures: str) -> None:
        if not value:
            return
        given = next((figure for figure in figures if figure in facts["sources"]), None)
        mark = f"[{sources.index(facts['sources'][given]) + 1}]" if given else ""
        doubt = "~" if given in facts["unverified"] and not value.startswith("~") else ""
        table.add_row(label, Text(f"{doubt}{value}"), Text(mark))

    add("memory", _memory(facts["memory_mib"]), "memory_mib")
    add("memory bandwidth", _unit(facts["bandwidth_gb_s"], "GB/s"), "bandwidth_gb_s")
    add("compute capability", facts["compute_capability"] or "", "compute_capability")
    add("multiprocessors", _unit(facts["sms"], ""), "sms")
    add("tensor cores", _unit(facts["tensor_cores"], ""), "tensor_cores")
    add("GPU clock", _unit(facts["gpu_mhz"], "MHz"), "gpu_mhz")
    add("CPU cores", _unit(facts["cpu_cores"], ""), "cpu_cores")
    add("CPU clock", _unit(facts["cpu_mhz"], "MHz"), "cpu_mhz")
    add("CPU flags", " ".join(facts["cpu_flags"]), "cpu_flags")
    for unit, peak in facts["peaks"].items():
        doubt = "~" * (unit in facts["unverified_peaks"])
        value = f"{doubt}{_digits(peak)} {_of(unit)}"
        add(f"peak {_NAMES[unit]}", value, f"published_peaks.{unit}", f"ops_per_clock.{unit}")
    for unit, ops in {} if facts["peaks"] else facts["ops_per_clock"].items():
        add(f"{_NAMES[unit]} per core and clock", f"{ops:g} operations", f"ops_per_clock.{unit}")
    add("precisions that pay off", " ".join(facts["pays_off"]))
    add("DLA cores", _unit(facts["dla_cores"], ""), "dla_cores")
    add("H.264 encoder", {None: "", True: "yes", False: "no"}[facts["video_encoder"]], "video_encoder")
    add("power modes", "\n".join(_mode(mode) for mode in facts["power_modes"]), "power_modes")
    add("JetPack", "\n".join(_release(one) for one in facts["jetpack_releases"]), "jetpacks")
    add("last CUDA", facts["cuda"] or "", "cuda")
    if facts["kind"] == "gpu":
        add("last TensorRT", facts["software"].get("tensorrt", "newest"), "tensorrt")
    add("part numbers", " ".join(facts["modules"]), "modules")
    add("runs now with", " ".join(facts["runs_now_with"]) or "nothing: TensorRT's interface is too old")
    return Group(
        table, _lines("Notes", facts["notes"]), _lines("Sources (~ not verified)", sources, numbers=True)
    )


def this_machine(facts: Mapping[str, Any]) -> Table:
    """What was detected, in the order in which a reader asks."""
    cpu, memory, jetson = facts["cpu"], facts["memory"], facts["jetson"]
    table = _facts_table(facts["title"])
    table.add_row("device", facts["key"] or f"unknown: {facts['no_profile']}", "")
    rows: list[tuple[str, str]] = [("", facts["part_of_card"] or "")]
    if jetson:
        l4t = f"L4T {jetson['l4t']}" if jetson["l4t"] else ""
        rows += [
            ("system software", _joined(l4t, _release_name(facts["jetpack"]))),
            ("part numbers", " ".join(jetson["modules"])),
            ("power mode", jetson["power_mode"] or "unknown"),
            ("GPU clock", _unit(jetson["gpu_mhz"], "MHz") + _locked(jetson["clocks_locked"])),
        ]
    for gpu in facts["gpus"]:
        known = (
            gpu["compute_capability"] and f"compute capability {gpu['compute_capability']}",
            gpu["memory_mib"] and _memory(gpu["memory_mib"]),
            gpu["driver"] and f"driver {gpu['driver']}",
            gpu["power_limit_w"] and f"limit {gpu['power_limit_w']:g} W",
            gpu["max_sm_mhz"] and f"up to {gpu['max_sm_mhz']} MHz",
            gpu["mig"] and "MIG",
        )
        rows.append((gpu["name"] or "GPU without a name", _joined(*known)))
    cores = (
        cpu["cores"] and f"{cpu['cores']} cores",
        cpu["allowed_cores"] not in {None, cpu["cores"]} and f"{cpu['allowed_cores']} allowed",
        cpu["quota_cores"] and f"quota {cpu['quota_cores']:g} cores",
        cpu["mhz"] and f"{cpu['mhz']:.0f} MHz",
        cpu["governor"],
        cpu["hypervisor"] and "in a virtual machine",
    )
    rows += [
        ("GPUs", facts["no_gpu"] or ""),
        ("CPU", _joined(cpu["model"], *cores)),
        ("CPU flags", " ".join(cpu["flags"])),
        ("memory", _memory_now(memory)),
        ("system", facts["system"] + (", in a container" if facts["container"] else "")),
        ("load", _unit(facts["load"], "")),
        ("temperatures", ", ".join(f"{name} {c:g} °C" for name, c in facts["temperatures_c"].items())),
    ]
    for label, value in rows:
        if value:
            table.add_row(Text(label), Text(value), "")
    return table


def _facts_table(title: str) -> Table:
    table = Table(box=box.SIMPLE, show_header=False, show_edge=False, padding=(0, 1), title=Text(title))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    table.add_column(style="dim", justify="right")
    return table


def _lines(title: str, lines: Iterable[str], *, numbers: bool = False) -> Table:
    """A list under a title, with hanging indents; an empty table for no lines."""
    table = Table.grid(padding=(0, 1))
    table.add_column(justify="right")
    table.add_column()
    found = list(lines)
    if found:
        table.add_row("", Text(f"\n{title}", "bold"))
    for number, line in enumerate(found, 1):
        table.add_row(Text(f"[{number}]" if numbers else " -", "dim"), Text(line))
    return table


def _peak(row: Mapping[str, Any], precision: str) -> str:
    """A peak, in brackets where it does not pay off; ``-`` for a precision that the device lacks."""
    if precision not in row["precisions"]:
        return "-"
    peak = row["peaks"].get(precision)
    text = "yes" if peak is None else f"{'~' * peak['unverified']}{_digits(peak['peak'])}"
    slower = precision not in row["pays_off"] and (peak is not None or row["kind"] == "cpu")
    return f"({text})" if slower else text


def _digits(number: float) -> str:
    """Three digits, never an exponent."""
    return f"{number:.0f}" if number >= 100 else f"{number:.3g}"


def _memory(mib: int | None) -> str:
    return f"{mib / 1024:.3g} GB" if mib else ""


def _memory_now(memory: Mapping[str, Any]) -> str:
    named = (("total_mib", ""), ("available_mib", " available"), ("limit_mib", " limit of the cgroup"))
    return ", ".join(f"{memory[key] / 1024:.1f} GB{word}" for key, word in named if memory[key])


def _joined(*facts: object) -> str:
    """The facts that are known, with commas."""
    return ", ".join(str(fact) for fact in facts if fact)


def _unit(value: float | None, unit: str) -> str:
    return "" if value is None else f"{value:g} {unit}".strip()


def _of(unit: str) -> str:
    return "TOPS" if unit.startswith("int8") else "TFLOPS"


def _locked(locked: bool | None) -> str:
    return {None: "", True: ", locked", False: ", not locked"}[locked]


def _mode(mode: Mapping[str, Any]) -> str:
    number = "" if mode["id"] is None else f"{mode['id']}: "
    return _joined(
        f"{number}{mode['name']}",
        mode["gpu_mhz"] and f"GPU {mode['gpu_mhz']:g} MHz",
        mode["bandwidth_gb_s"] and f"memory {mode['bandwidth_gb_s']:g} GB/s",
        mode["default"] and "default",
    )


def _release(release: Mapping[str, Any]) -> str:
    versions = (f"{name} {release[name.lower()]}" for name in ("L4T", "CUDA", "TensorRT", "Python"))
    return f"{release['version']}: {_joined(*versions)}"


def _release_name(release: Mapping[str, Any] | None) -> str:
    return f"as JetPack {release['version']} (TensorRT {release['tensorrt']})" if release else ""
