"""A network goes to disk and comes back the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from distill.checkpoints.native import load, save
from distill.models.yolov5 import Yolov5, build, model_spec
from edgestill.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from edgestill.errors import ArtifactError
from edgestill.spec import ModelSpec

CLASSES = ("red", "yellow", "green", "off")
ODD_ANCHORS = tuple(
    tuple((w + 0.123, h + 0.456) for w, h in [(10, 13), (16, 30), (33, 23)]) for _ in range(3)
)


@pytest.fixture(scope="module")
def trained() -> tuple[Yolov5, ModelSpec]:
    """A network after one forward pass in training mode, with anchors that FP16 cannot hold."""
    torch.manual_seed(0)
    model = build("n", 4, ODD_ANCHORS).train()
    with torch.no_grad():
        model(torch.rand(2, 3, 64, 64))
    return model, model_spec(model, CLASSES, (384, 640))


def test_what_is_saved_is_loaded(trained: tuple[Yolov5, ModelSpec], tmp_path: Path) -> None:
    model, contract = trained
    save(tmp_path / "best", model, contract, {"epochs": 3})
    again, its_spec, about = load(tmp_path / "best")

    assert (its_spec, about) == (contract, {"epochs": 3})
    assert all(
        torch.equal(a, b)
        for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True)
    )


def test_every_tensor_is_kept_even_the_counters(trained: tuple[Yolov5, ModelSpec], tmp_path: Path) -> None:
    save(tmp_path / "best", *trained, {})
    weights = read_checkpoint(tmp_path / "best").weights

    assert len(weights) == 349
    assert weights["model.0.bn.num_batches_tracked"].shape == ()


def test_half_storage_rounds_the_weights_only(trained: tuple[Yolov5, ModelSpec], tmp_path: Path) -> None:
    model, contract = trained
    save(tmp_path / "half", model, contract, {}, half=True)
    again, _, _ = load(tmp_path / "half")

    weight = model.model[1].state_dict()["conv.weight"]
    assert torch.equal(again.model[1].state_dict()["conv.weight"], weight.half().float())
    assert torch.equal(again.head.anchors, model.head.anchors)


def test_a_loaded_network_is_ready_to_detect(trained: tuple[Yolov5, ModelSpec], tmp_path: Path) -> None:
    save(tmp_path / "best", *trained, {})
    model, _, _ = load(tmp_path / "best")

    assert not model.training


def test_a_spec_of_other_classes_is_refused(trained: tuple[Yolov5, ModelSpec], tmp_path: Path) -> None:
    model, contract = trained
    with pytest.raises(
        ArtifactError, match=r"a coupled head and 2 classes: model\.24\.m\.0\.weight is \[27, 64"
    ):
        save(tmp_path / "best", model, replace(contract, classes=("red", "green")), {})


def test_weights_beside_a_foreign_spec_are_refused(trained: tuple[Yolov5, ModelSpec], tmp_path: Path) -> None:
    model, contract = trained
    weights = {name: t.numpy() for name, t in model.state_dict().items()}
    write_checkpoint(tmp_path / "best", Checkpoint(spec=replace(contract, name="yolov5s"), weights=weights))

    with pytest.raises(ArtifactError, match="not those of yolov5s with a coupled head and 4 classes"):
        load(tmp_path / "best")


def test_anchors_that_the_weights_were_not_trained_with_are_refused(
    trained: tuple[Yolov5, ModelSpec], tmp_path: Path
) -> None:
    model, contract = trained
    anchors = tuple(tuple((w * 1.01, h) for w, h in level) for level in contract.anchors_px)
    with pytest.raises(ArtifactError, match="the weights were trained with anchors"):
        save(tmp_path / "best", model, replace(contract, anchors_px=anchors), {})


@pytest.mark.parametrize(
    ("value", "half", "message"),
    [
        pytest.param(float("nan"), False, "is not finite in FP32", id="nan"),
        pytest.param(1e5, True, "is not finite in FP16", id="too-large-for-half"),
    ],
)
def test_values_that_would_be_lost_are_not_written(
    value: float, half: bool, message: str, tmp_path: Path
) -> None:
    model = build("n", 4)
    with torch.no_grad():
        model.model[0].get_parameter("bn.weight")[0] = value
    with pytest.raises(ArtifactError, match=message):
        save(tmp_path / "best", model, model_spec(model, CLASSES, (64, 64)), {}, half=half)

    assert not (tmp_path / "best").exists()


def test_a_missing_path_says_what_to_name(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="nothing does not exist") as caught:
        load(tmp_path / "nothing")
    assert "checkpoint folder" in caught.value.hint


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="is not a checkpoint"):
        load(tmp_path)


def test_a_truncated_weights_file_is_refused(trained: tuple[Yolov5, ModelSpec], tmp_path: Path) -> None:
    save(tmp_path / "best", *trained, {})
    file = tmp_path / "best" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:5000])

    with pytest.raises(ArtifactError, match="is not a safetensors file"):
        load(tmp_path / "best")


def test_the_stored_weights_are_plain_arrays(trained: tuple[Yolov5, ModelSpec], tmp_path: Path) -> None:
    save(tmp_path / "half", *trained, {}, half=True)
    kinds = {w.dtype for w in read_checkpoint(tmp_path / "half").weights.values()}

    assert kinds == {np.dtype(np.float32), np.dtype(np.int64)}
