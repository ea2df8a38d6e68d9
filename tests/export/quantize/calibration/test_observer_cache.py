"""An entry is used where everything is the same, and in no other case."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgestill.dataset import Dataset, read_image
from edgestill.spec import ModelSpec
from export.quantize.calibration import observer_cache
from export.quantize.calibration.images import Calibration, choose_images
from export.quantize.calibration.observer import TensorStatistics
from export.quantize.calibration.observer_cache import (
    KEPT,
    SUFFIX,
    ObservedTensors,
    depends_on,
    observe_cached,
)

WATCHED = ObservedTensors(histograms=["out"], means=["images"])


def graph(weight: float = 1.0) -> onnx.ModelProto:
    """One convolution of 64 x 96 pictures."""
    made = helper.make_graph(
        [helper.make_node("Conv", ["images", "w"], ["out"])],
        "g",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 64, 96])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 1, 64, 96])],
        [numpy_helper.from_array(np.full((1, 3, 1, 1), weight, np.float32), "w")],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture
def calibration(dataset: Dataset, spec: ModelSpec) -> Calibration:
    return choose_images(dataset, spec, count=4)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry each time that images are looked at."""
    found: list[int] = []
    real = observer_cache.observe

    def observe(*args: Any, **kwargs: Any) -> TensorStatistics:
        found.append(1)
        return real(*args, **kwargs)

    monkeypatch.setattr(observer_cache, "observe", observe)
    return found


def same(a: TensorStatistics, b: TensorStatistics) -> bool:
    one, other = a.histograms["out"], b.histograms["out"]
    return (
        (one.low, one.high, one.width) == (other.low, other.high, other.width)
        and np.array_equal(one.counts, other.counts)
        and {n: m.tolist() for n, m in a.channel_means.items()}
        == {n: m.tolist() for n, m in b.channel_means.items()}
        and a.images == b.images
    )


def test_a_second_export_looks_at_no_image(
    calibration: Calibration, tmp_path: Path, looks: list[int]
) -> None:
    first = observe_cached(graph(), WATCHED, calibration, tmp_path / "cache")
    second = observe_cached(graph(), WATCHED, calibration, tmp_path / "cache")
    assert len(looks) == 1
    assert same(first, second)


def test_without_a_folder_nothing_is_kept(calibration: Calibration, looks: list[int]) -> None:
    for _ in range(2):
        observe_cached(graph(), WATCHED, calibration, None)
    assert len(looks) == 2


def other_picture(calibration: Calibration, dataset: Dataset) -> Calibration:
    """The same names, one with other content."""
    image = read_image(calibration.paths[0])
    cv2.imwrite(str(calibration.paths[0]), 255 - image)
    return choose_images(dataset, calibration.spec, count=4)


def other_tools(calibration: Calibration) -> Calibration:
    tools = {**calibration.record.tools, "opencv": "0.1"}
    return replace(calibration, record=replace(calibration.record, tools=tools))


def fewer(calibration: Calibration) -> Calibration:
    images = dict(list(calibration.record.images.items())[:-1])
    return replace(
        calibration, paths=calibration.paths[:-1], record=replace(calibration.record, images=images)
    )


def resized(calibration: Calibration, dataset: Dataset) -> Calibration:
    return choose_images(dataset, replace(calibration.spec, pad_value=0), count=4)


CHANGES: dict[str, Callable[[Calibration, Dataset], tuple[onnx.ModelProto, ObservedTensors, Calibration]]] = {
    "graph": lambda c, d: (graph(weight=2.0), WATCHED, c),
    "tensors": lambda c, d: (graph(), replace(WATCHED, means=[]), c),
    "image content": lambda c, d: (graph(), WATCHED, other_picture(c, d)),
    "set of images": lambda c, d: (graph(), WATCHED, fewer(c)),
    "pre-processing": lambda c, d: (graph(), WATCHED, resized(c, d)),
    "tools": lambda c, d: (graph(), WATCHED, other_tools(c)),
}


@pytest.mark.parametrize("part", CHANGES)
def test_an_entry_with_another_part_is_not_used(
    part: str, calibration: Calibration, dataset: Dataset, tmp_path: Path, looks: list[int]
) -> None:
    observe_cached(graph(), WATCHED, calibration, tmp_path / "cache")
    changed = CHANGES[part](calibration, dataset)
    seen = observe_cached(*changed, tmp_path / "cache")
    assert len(looks) == 2
    assert same(seen, observe_cached(*changed, None))


def test_a_letterbox_changed_in_code_is_noticed(
    calibration: Calibration, tmp_path: Path, looks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without /255, as calibrators of other projects had it: no setting says so."""
    observe_cached(graph(), WATCHED, calibration, tmp_path)
    real = Calibration._tensor
    monkeypatch.setattr(Calibration, "_tensor", lambda self, path: real(self, path) * np.float32(255))
    observe_cached(graph(), WATCHED, calibration, tmp_path)
    assert len(looks) == 2


def test_another_way_of_counting_is_noticed(
    calibration: Calibration, tmp_path: Path, looks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    observe_cached(graph(), WATCHED, calibration, tmp_path)
    monkeypatch.setattr(observer_cache, "SAMPLE", 1)
    observe_cached(graph(), WATCHED, calibration, tmp_path)
    assert len(looks) == 2


def entry_of(folder: Path) -> Path:
    return next(folder.glob(f"*{SUFFIX}"))


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "not ours"])
def test_a_damaged_entry_is_told_not_used_and_replaced(
    damage: str,
    calibration: Calibration,
    tmp_path: Path,
    looks: list[int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    first = observe_cached(graph(), WATCHED, calibration, tmp_path / "cache")
    entry = entry_of(tmp_path / "cache")
    data = bytearray(entry.read_bytes())
    if damage == "flipped":
        data[len(data) // 2] ^= 1
    entry.write_bytes({"cut": data[:-100], "flipped": data, "empty": b"", "not ours": b"x" * 500}[damage])
    assert same(observe_cached(graph(), WATCHED, calibration, tmp_path / "cache"), first)
    assert len(looks) == 2
    assert "is damaged, observing the images again" in capsys.readouterr().err
    observe_cached(graph(), WATCHED, calibration, tmp_path / "cache")
    assert len(looks) == 2


def test_an_entry_under_the_name_of_another_is_not_used(
    calibration: Calibration, tmp_path: Path, looks: list[int]
) -> None:
    observe_cached(graph(), WATCHED, calibration, tmp_path / "a")
    observe_cached(graph(weight=2.0), WATCHED, calibration, tmp_path / "b")
    entry_of(tmp_path / "b").write_bytes(entry_of(tmp_path / "a").read_bytes())
    observe_cached(graph(weight=2.0), WATCHED, calibration, tmp_path / "b")
    assert len(looks) == 3


def test_a_folder_that_cannot_be_written_stops_nothing(
    calibration: Calibration, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    assert observe_cached(graph(), WATCHED, calibration, tmp_path / "file" / "cache").images == 4
    assert "cannot be written" in capsys.readouterr().err


def test_the_oldest_entries_go(calibration: Calibration, tmp_path: Path) -> None:
    for i in range(KEPT + 3):
        (tmp_path / f"{i}{SUFFIX}").write_bytes(b"")
    observe_cached(graph(), WATCHED, calibration, tmp_path)
    assert len(list(tmp_path.glob(f"*{SUFFIX}"))) == KEPT


def test_the_way_of_choosing_ranges_is_no_part(calibration: Calibration) -> None:
    """It is applied to the counts at every export, so that an entry cannot hold a stale one."""
    assert not {"method", "tuning"} & set(depends_on(graph(), WATCHED, calibration))
