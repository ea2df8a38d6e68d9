"""Which boards have an H.264 encoder in hardware."""

from pathlib import Path

import pytest

from devices.profile import load_profiles
from devices.video_encoder import has_video_encoder


def tree(root: Path, compatible: str | None) -> Path:
    if compatible is not None:
        (root / "proc" / "device-tree").mkdir(parents=True)
        (root / "proc" / "device-tree" / "compatible").write_text(compatible)
    return root


@pytest.mark.parametrize(
    ("compatible", "has_one"),
    [
        ("nvidia,p3768-0000+p3767-0005-super\0nvidia,p3767-0005\0nvidia,tegra234\0", False),  # Orin Nano
        ("nvidia,p3768-0000+p3767-0004\0nvidia,p3767-0004\0nvidia,tegra234\0", False),
        ("nvidia,p3768-0000+p3767-0000\0nvidia,p3767-0000\0nvidia,tegra234\0", True),  # Orin NX
        ("nvidia,p3737-0000+p3701-0005\0nvidia,p3701-0005\0nvidia,tegra234\0", True),  # AGX Orin
        ("nvidia,p9999-0000\0nvidia,tegra999\0", False),  # a board without a profile
        ("raspberrypi,5-model-b\0brcm,bcm2712\0", False),
        (None, False),
    ],
)
def test_the_profile_of_the_board_tells(tmp_path: Path, compatible: str | None, has_one: bool) -> None:
    assert has_video_encoder(tree(tmp_path, compatible)) is has_one


def test_every_jetson_says_whether_it_has_one() -> None:
    assert all(p.video_encoder is not None for p in load_profiles() if p.kind == "jetson")
