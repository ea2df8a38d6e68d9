"""NVIDIA graphics cards, from the output of ``nvidia-smi``."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass

_QUERY = ("name", "compute_cap", "memory.total", "driver_version", "power.limit", "clocks.max.sm")
_TIMEOUT_S = 20  # the first call loads the driver, which can take several seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One graphics card; None for what is not available.

    Attributes:
        name: Name according to the driver.
        compute_capability: CUDA compute capability, e.g. ``"7.0"``.
        memory_mib: Memory of the card, MiB.
        driver: Driver version.
        power_limit_w: Power limit, watts.
        max_sm_mhz: Highest clock of the multiprocessors.
    """

    name: str
    compute_capability: str | None
    memory_mib: int | None
    driver: str | None
    power_limit_w: float | None
    max_sm_mhz: int | None


def query_cards() -> str:
    """The output of ``nvidia-smi``, a line for each card; empty if it is missing or fails."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    command = [program, f"--query-gpu={','.join(_QUERY)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def parse_cards(text: str) -> tuple[Gpu, ...]:
    """The cards in the output of ``query_cards``."""
    cards = []
    for line in text.splitlines():
        values = [None if "N/A" in word or not word.strip() else word.strip() for word in line.split(",")]
        if len(values) != len(_QUERY) or values[0] is None:
            continue
        _, capability, memory, driver, power, clock = values
        cards.append(
            Gpu(
                name=values[0],
                compute_capability=capability,
                memory_mib=int(memory) if memory else None,
                driver=driver,
                power_limit_w=float(power) if power else None,
                max_sm_mhz=int(clock) if clock else None,
            )
        )
    return tuple(cards)
