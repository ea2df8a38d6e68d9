"""Which supply rails of a Jetson make up the whole module.

Source: NVIDIA Jetson Linux Developer Guide, Platform Power and Performance, "Software-Based Power Consumption
Modeling" of each family. Of the AGX Orin it says that VDDQ_VDD2_1V8AO is part of VIN_SYS_5V0.
"""

from __future__ import annotations

from collections.abc import Iterable

from devices.monitors.sensor import Channel, PowerMeter

#: Sets of rails that do not overlap and supply the whole module, the better first: one input rail, or the
#: sum of all. Jetson Nano; TX2, Xavier NX, Orin NX and Nano; Thor; AGX Orin; AGX Xavier.
WHOLE_MODULE = (
    ("POM_5V_IN",),
    ("VDD_IN",),
    ("VIN",),
    ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),
    ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),
)
#: Label of an input of the INA3221 that nothing is connected to.
UNUSED = "NC"


def module_meter(sensor: str, rails: Iterable[str], update_s: float) -> PowerMeter | None:
    """The power meter of a whole Jetson module; None if its rails are not known to make one.

    Args:
        sensor: Name of the sensor, for the result.
        rails: Names of all rails that it measures.
        update_s: Time over which it averages, seconds.
    """
    known = set(rails)
    whole = next((names for names in WHOLE_MODULE if known.issuperset(names)), None)
    if whole is None:
        return None
    return PowerMeter(
        name=f"{sensor} {' + '.join(whole)}",
        covers="the whole Jetson module"
        if len(whole) == 1
        else "the whole Jetson module, as the sum of its supply rails",
        channels=tuple(Channel("power_mw", name) for name in whole),
        update_s=update_s,
    )
