"""Model names: files as they are, checkpoints as ONNX made once."""

from dataclasses import replace
from pathlib import Path

import pytest

from distill.checkpoints import native
from distill.models.yolov5 import build, model_spec
from edgestill.checkpoint import read_checkpoint, write_checkpoint
from edgestill.errors import ArtifactError
from export.model_file import resolve
from runtime.detector import open_detector


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint folder, and a cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    model = build("n", 2)
    native.save(tmp_path / "best", model, model_spec(model, ("red", "green"), (64, 96)), {})
    return tmp_path / "best"


def test_a_file_is_itself_even_if_it_is_not_there() -> None:
    assert resolve("no/such.onnx") == Path("no/such.onnx")


def test_a_checkpoint_becomes_an_onnx_file_that_runs_and_is_made_once(trained: Path) -> None:
    path = resolve(str(trained))
    made = path.stat().st_mtime_ns
    assert open_detector(path).spec.classes == ("red", "green")
    assert resolve(str(trained)) == path
    assert path.stat().st_mtime_ns == made


def test_other_weights_are_another_file(trained: Path) -> None:
    first = resolve(str(trained))
    held = read_checkpoint(trained)
    weights = {name: w + 1 if name.endswith("conv.weight") else w for name, w in held.weights.items()}
    write_checkpoint(trained, replace(held, weights=weights))
    assert resolve(str(trained)) != first


def test_the_cache_is_nobody_elses(trained: Path) -> None:
    assert resolve(str(trained)).parent.stat().st_mode & 0o077 == 0


def test_a_folder_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"is not a checkpoint: it needs model\.safetensors"):
        resolve(str(tmp_path))


def test_a_legacy_checkpoint_is_sent_to_export(tmp_path: Path) -> None:
    path = tmp_path / "yolov5n.pt"
    path.write_bytes(b"PK")
    with pytest.raises(ArtifactError, match="checkpoint of the original YOLOv5") as caught:
        resolve(str(path))
    assert f"edgestill export {path} --to onnx" in caught.value.hint


def test_a_legacy_checkpoint_that_is_not_there_is_said_to_be_missing() -> None:
    with pytest.raises(ArtifactError, match=r"yolov5n\.pt does not exist"):
        resolve("yolov5n.pt")
