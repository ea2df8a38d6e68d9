"""The measurement of the loader measures what it says, on frames that are what it says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from distill.profiling import loader_rate
from distill.profiling.loader_frames import write_frames
from edgestill.dataset import Dataset, read_image

SIZE_WH = (192, 96)


def test_frames_differ_and_names_beyond_them_are_links(tmp_path: Path) -> None:
    dataset = Dataset.open(write_frames(tmp_path, 5, 12, SIZE_WH, threads=2))
    images = dataset.images("train")
    assert len(images) == 12
    assert len({path.read_bytes() for path in images}) == len({path.stat().st_ino for path in images}) == 5
    assert read_image(images[0]).shape == (96, 192, 3)
    assert sum(len(dataset.labels(path)) for path in images) > 0  # and all can be read


def test_the_command_prints_the_ratios_of_all_parts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(loader_rate, "SIZE_WH", SIZE_WH)
    settings = ["input_hw=[96, 160]", "train_hw=[64, 64]", "batch=2", "cache_mib=10"]
    words = ["--frames", "4", "--images", "6", "--disk-mib", "10", "--seconds", "0.05", "--rounds", "2"]
    loader_rate.main([*words, "--folder", str(tmp_path), *(w for s in settings for w in ("--set", s))])
    result = json.loads(capsys.readouterr().out)
    assert result["images"] == 6
    assert list(result["per_s"]) == list(result["per_core_s"]) == list(result["against_decode"])
    assert list(result["per_s"]) == ["decode", "plain", "cold", "disk", "memory"]
    assert result["against_decode"]["decode"]["median"] == 1
    assert all(rate > 0 for rate in result["per_core_s"].values())
    assert list(tmp_path.iterdir()) == []


def test_a_single_round_has_no_quartiles() -> None:
    with pytest.raises(SystemExit):
        loader_rate.main(["--rounds", "1"])
