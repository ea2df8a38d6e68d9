"""Weights on disk, without torch."""

from pathlib import Path

import numpy as np
import pytest

from edgestill.checkpoint import SPEC, WEIGHTS, Checkpoint, read_checkpoint, write_checkpoint
from edgestill.errors import ArtifactError
from edgestill.files import sha256_file
from edgestill.spec import ModelSpec

CHECKPOINT = Checkpoint(
    spec=ModelSpec(name="yolov5n", input_hw=(32, 64), classes=("red", "green")),
    weights={
        "model.0.conv.weight": np.arange(6, dtype=np.float32).reshape(2, 3) / 7,
        "model.0.bn.num_batches_tracked": np.array(5),
    },
    about={"recipe": "none", "map50": 0.5},
)


def test_a_checkpoint_survives_its_folder(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, CHECKPOINT)
    back = read_checkpoint(tmp_path)
    assert (back.spec, back.about) == (CHECKPOINT.spec, CHECKPOINT.about)
    for name, tensor in CHECKPOINT.weights.items():
        np.testing.assert_array_equal(back.weights[name], tensor)


def test_half_weights_come_back_as_float32(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, CHECKPOINT, half=True)
    weight = read_checkpoint(tmp_path).weights["model.0.conv.weight"]
    assert weight.dtype == np.float32
    np.testing.assert_allclose(weight, CHECKPOINT.weights["model.0.conv.weight"], rtol=1e-3)


def test_half_leaves_counters_alone(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, CHECKPOINT, half=True)
    assert read_checkpoint(tmp_path).weights["model.0.bn.num_batches_tracked"].dtype == np.int64


def test_a_checkpoint_knows_the_hash_of_its_weights(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, CHECKPOINT)
    assert read_checkpoint(tmp_path).sha256 == sha256_file(tmp_path / WEIGHTS)


@pytest.mark.parametrize("missing", [WEIGHTS, SPEC])
def test_a_folder_that_lacks_a_file_is_refused(tmp_path: Path, missing: str) -> None:
    write_checkpoint(tmp_path, CHECKPOINT)
    (tmp_path / missing).unlink()
    with pytest.raises(ArtifactError, match="is not a checkpoint"):
        read_checkpoint(tmp_path)


def test_truncated_weights_are_refused(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, CHECKPOINT)
    (tmp_path / WEIGHTS).write_bytes((tmp_path / WEIGHTS).read_bytes()[:-8])
    with pytest.raises(ArtifactError, match="is not a safetensors file"):
        read_checkpoint(tmp_path)
