"""Releases of JetPack as data: the software of a Jetson, and the modules that it supports.

Sources: github.com/rbonghi/jetson_stats f41d5cad, jtop/core/jetson_variables.py (L4T by JetPack);
github.com/OE4T/meta-tegra d5d93dc6, branches; release notes of JetPack 4.6 to 7.2
(developer.nvidia.com/embedded/jetpack-archive).
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class JetPack:
    """One release.

    Attributes:
        version: Its number.
        l4t: Its Jetson Linux.
        cuda: Its CUDA.
        tensorrt: Its TensorRT.
        python: Its Python, for which its TensorRT bindings are built.
        ubuntu: Its Ubuntu.
    """

    version: str
    l4t: str
    cuda: str
    tensorrt: str
    python: str
    ubuntu: str


RELEASES: tuple[JetPack, ...] = (
    JetPack(version="4.6.6", l4t="32.7.6", cuda="10.2", tensorrt="8.2.1", python="3.6", ubuntu="18.04"),
    JetPack(version="5.1.6", l4t="35.6.4", cuda="11.4", tensorrt="8.5.2", python="3.8", ubuntu="20.04"),
    JetPack(version="6.0", l4t="36.3.0", cuda="12.4", tensorrt="8.6.2", python="3.10", ubuntu="22.04"),
    JetPack(version="6.2.2", l4t="36.5.0", cuda="12.6", tensorrt="10.3.0", python="3.10", ubuntu="22.04"),
    JetPack(version="7.0", l4t="38.2.0", cuda="13.0", tensorrt="10.13.3", python="3.12", ubuntu="24.04"),
    JetPack(version="7.1", l4t="38.4.0", cuda="13.0", tensorrt="10.13.3", python="3.12", ubuntu="24.04"),
    JetPack(version="7.2.1", l4t="39.2.1", cuda="13.2", tensorrt="10.16.2", python="3.12", ubuntu="24.04"),
)


def release(version: str) -> JetPack:
    """The release of a number.

    Raises:
        KeyError: It is not in the table.
    """
    return {one.version: one for one in RELEASES}[version]


def of_l4t(l4t: str) -> JetPack | None:
    """The release whose CUDA and TensorRT a Jetson Linux has; None if its series is not in the table.

    Of a series (32, 35, 36, ...) it is the first one that is not older than ``l4t``, else the last.
    """
    same = [one for one in RELEASES if _numbers(one.l4t)[:1] == _numbers(l4t)[:1]]
    newer = [one for one in same if _numbers(one.l4t)[:2] >= _numbers(l4t)[:2]]
    return next(iter([*newer[:1], *same[-1:]]), None)


def _numbers(l4t: str) -> tuple[int, ...]:
    """``"36.4.3"`` -> ``(36, 4, 3)``."""
    return tuple(int(n) for n in re.findall(r"[0-9]+", l4t))
