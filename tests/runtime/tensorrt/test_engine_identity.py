"""An engine runs where it was built: also in a container, which does not see the release of Jetson Linux."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from edgestill.errors import ArtifactError
from runtime.tensorrt.engine_identity import EnginePlatform, check_platform

ORIN = EnginePlatform(
    family="tensorrt", version="10.3.0", gpu="Orin", compute_capability="8.7", sms=8, system="L4T 36.4.3"
)


def checked(built: EnginePlatform, here: EnginePlatform, *portable: str) -> None:
    built_on: dict[str, Any] = {**asdict(built), "portable": list(portable)}
    check_platform(Path("m.engine"), built_on, here)


@pytest.mark.parametrize("field", ["version", "gpu", "compute_capability", "sms", "system"])
def test_another_platform_is_refused_with_what_differs(field: str) -> None:
    other = replace(ORIN, **{field: 6 if field == "sms" else "another"})
    checked(ORIN, ORIN)
    with pytest.raises(ArtifactError, match="another"):
        checked(ORIN, other)


def test_an_unknown_release_is_no_other_release() -> None:
    inside = replace(ORIN, system="L4T unknown")
    checked(ORIN, inside)
    checked(inside, ORIN)
    with pytest.raises(ArtifactError, match=r"version is 10\.16\.0, was 10\.3\.0"):
        checked(ORIN, replace(inside, version="10.16.0"))


def test_an_unknown_release_is_no_driver_of_a_card() -> None:
    with pytest.raises(ArtifactError, match="system is L4T unknown, was driver 550"):
        checked(replace(ORIN, system="driver 550"), replace(ORIN, system="L4T unknown"))
