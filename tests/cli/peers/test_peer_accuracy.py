"""The accuracy of several files on the same images."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from edgestill.cli.peers.peer_accuracy import PeerAccuracy
from edgestill.dataset import Dataset


def scaled(tiny_model: Path, path: Path, factor: float) -> Path:
    """The tiny model with its scores multiplied."""
    model = onnx.load(tiny_model)
    tensor = next(t for t in model.graph.initializer if t.name == "rows")
    values = onnx.numpy_helper.to_array(tensor).copy()
    values[..., 4] *= factor
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, "rows"))
    onnx.save(model, path)
    return path


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Two images in whose middle a light is red; the names of the classes are the model's."""
    (tmp_path / "images" / "test").mkdir(parents=True)
    (tmp_path / "labels" / "test").mkdir(parents=True)
    for k in range(2):
        cv2.imwrite(str(tmp_path / "images" / "test" / f"{k}.png"), np.full((32, 32, 3), 40 * k, np.uint8))
        (tmp_path / "labels" / "test" / f"{k}.txt").write_text("0 0.5 0.5 0.25 0.5\n")
    (tmp_path / "data.yaml").write_text("path: .\ntest: images/test\nnames: [red, green]\n")
    return Dataset.open(tmp_path / "data.yaml")


@pytest.fixture
def files(tiny_model: Path, tmp_path: Path) -> dict[str, Path]:
    """An FP32 file, one that finds the same with other scores, and one that finds nothing."""
    return {
        "ort-fp32": tiny_model,
        "ort-int8": scaled(tiny_model, tmp_path / "weaker.onnx", 0.9),
        "ort-int8-defaults": scaled(tiny_model, tmp_path / "blind.onnx", 0.0),
    }


def accuracy(dataset: Dataset, tmp_path: Path, *class_map: str) -> PeerAccuracy:
    return PeerAccuracy(
        kept=tmp_path / "accuracy.json",
        dataset=dataset,
        images=dataset.images("test"),
        class_map=class_map,
        threads=1,
    )


def test_labels_and_the_fp32_file_are_two_measures(
    dataset: Dataset, files: dict[str, Path], tmp_path: Path
) -> None:
    found = accuracy(dataset, tmp_path)(files)
    assert found["ort-fp32"]["map50_95"] == pytest.approx(1)
    assert found["ort-fp32"]["agreement_map50_95"] is None
    assert found["ort-int8"]["map50_95"] == pytest.approx(1)
    assert found["ort-int8"]["agreement_map50_95"] == pytest.approx(1)
    assert (found["ort-int8"]["confident"], found["ort-int8"]["matched"]) == (2, 2)
    blind = found["ort-int8-defaults"]
    assert (blind["map50_95"], blind["agreement_map50_95"], blind["matched"]) == (0, 0, 0)


def test_figures_are_kept_by_content(
    dataset: Dataset, files: dict[str, Path], tmp_path: Path, tiny_model: Path
) -> None:
    first = accuracy(dataset, tmp_path)(files)
    kept = json.loads((tmp_path / "accuracy.json").read_text())
    marked = {name: {**figures, "map50": 0.123} for name, figures in kept.items()}
    (tmp_path / "accuracy.json").write_text(json.dumps(marked))
    assert {figures["map50"] for figures in accuracy(dataset, tmp_path)(files).values()} == {0.123}
    scaled(tiny_model, files["ort-int8"], 0.8)
    again = accuracy(dataset, tmp_path)(files)
    assert again["ort-int8"]["map50"] == first["ort-int8"]["map50"]
    assert again["ort-int8"]["agreement_map50_95"] == pytest.approx(1)  # with a reference that is run again
    assert again["ort-fp32"]["map50"] == 0.123


@pytest.mark.parametrize("is_mapped", [True, False])
def test_other_classes_are_scored_with_a_class_map_alone(
    is_mapped: bool, dataset: Dataset, files: dict[str, Path], tmp_path: Path
) -> None:
    text = dataset.path.read_text().replace("red, green", "stop, go, other")
    dataset.path.write_text(text)
    other = Dataset.open(dataset.path)
    found = accuracy(other, tmp_path, *(["red=*"] if is_mapped else []))(files)
    assert found["ort-int8"]["map50_95"] == (pytest.approx(1) if is_mapped else None)
    assert found["ort-int8"]["agreement_map50_95"] == pytest.approx(1)


def test_a_file_that_no_detector_opens_has_no_figures_but_a_reason(
    dataset: Dataset, files: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"nothing")
    found = accuracy(dataset, tmp_path)({**files, "ort-int8": tmp_path / "broken.onnx"})
    assert found["ort-int8"]["map50"] is None
    assert "broken.onnx" in found["ort-int8"]["accuracy_missing"]
    assert found["ort-int8-defaults"]["map50"] == 0
