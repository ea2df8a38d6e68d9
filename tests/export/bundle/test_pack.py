"""What a bundle holds, and what is not put into one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import edgestill
from edgestill.errors import ArtifactError, UsageError
from edgestill.files import sha256_file
from edgestill.manifest import Manifest, write_manifest
from edgestill.spec import ModelSpec, TensorSpec
from export.bundle.device_platform import DevicePlatform, platform_of
from export.bundle.pack import ModelSource, write_bundle
from export.bundle.reading import unpack_bundle, verify_bundle
from runtime.backend import open_backend
from tests.export.bundle.conftest import fill

RECORD = {"method": "percentile", "images": ["0" * 64]}


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the model in a folder of its own."""
    path = tmp_path / "models" / "tiny-int8.onnx"
    path.parent.mkdir()
    shutil.copyfile(tiny_model, path)
    return path


def manifest_of(model: Path, beside: str | None = None, **fields: Any) -> Path:
    """A manifest of the model, or of an engine that was built from it."""
    tensor = TensorSpec(name="images", shape=(1, 3, 32, 32), dtype="float32")
    record = Manifest(
        spec=ModelSpec(name="tiny", input_hw=(32, 32), classes=("red", "green")),
        format="onnx",
        precision="int8",
        precision_proved={},
        inputs=(tensor,),
        outputs=(),
        built_with={},
        parent_sha256="",
        calibration=RECORD,
        **{"files": {model.name: sha256_file(model)}, **fields},
    )
    return write_manifest(model.with_name(beside) if beside else model, record)


def packed(
    folder: Path, wheels: Path, images: Any, *models: Path, device: str = "x86_64", **options: Any
) -> Path:
    """The unpacked bundle of some models."""
    out = folder / "x.tar"
    sources = [ModelSource(name=path.stem, path=path) for path in models]
    write_bundle(
        sources, out, device=platform_of(device), wheels=wheels, images_bgr=images, force=True, **options
    )
    unpack_bundle(out, folder / "unpacked")
    return folder / "unpacked"


def test_a_bundle_holds_what_the_device_needs(bundle: Path) -> None:
    found = verify_bundle(bundle)
    names = set(found.sha256)
    assert {"bundle.json", "install.py", "run.sh"} <= names
    assert {name for name in names if name.startswith("models/")} == {
        "models/tiny/tiny.onnx",
        "models/tiny/spec.json",
        "models/tiny/parity.npz",
    }
    assert {name for name in names if name.startswith("wheels/")} == {
        found.index.pip,
        *(path for paths in found.index.wheels.values() for path in paths),
    }
    assert found.index.edgestill == edgestill.__version__
    entry = found.index.models[0]
    assert (entry.precision, entry.detections) == ("fp32", 4)


def test_the_same_inputs_give_the_same_bytes(
    bundle: Path, tiny_model: Path, x86: DevicePlatform, x86_wheels: Path, images: Any, tmp_path: Path
) -> None:
    moved = Path(shutil.copytree(x86_wheels, tmp_path / "other wheels"))
    for path in moved.iterdir():
        path.touch()
    again = tmp_path / "again.tar"
    written = write_bundle(
        [ModelSource(name="tiny", path=tiny_model)], again, device=x86, wheels=moved, images_bgr=images
    )
    assert again.read_bytes() == bundle.read_bytes()
    assert written.sums_sha256 == verify_bundle(again).sums_sha256


def test_manifest_and_calibration_go_with_a_model(
    model: Path, x86_wheels: Path, images: Any, tmp_path: Path
) -> None:
    manifest_of(model)
    folder = packed(tmp_path, x86_wheels, images, model) / "models" / "tiny-int8"
    assert json.loads((folder / "calibration.json").read_text()) == RECORD
    assert json.loads((folder / "spec.json").read_text())["classes"] == ["red", "green"]
    open_backend(folder / "tiny-int8.onnx").close()  # its manifest is there, and its hash fits
    assert json.loads((folder.parent.parent / "bundle.json").read_text())["models"][0]["precision"] == "int8"


@pytest.mark.parametrize("by", ["files", "built_on"])
def test_the_graph_of_an_engine_takes_precision_and_calibration_from_its_manifest(
    by: str, model: Path, x86_wheels: Path, images: Any, tmp_path: Path
) -> None:
    digest = sha256_file(model)
    fields: dict[str, Any] = {"files": {"tiny-int8.engine": "0", "other": digest}}
    if by == "built_on":
        fields = {"files": {}, "built_on": {"onnx_sha256": digest}}
    manifest_of(model, "tiny-int8.engine", **fields)
    folder = packed(tmp_path, x86_wheels, images, model) / "models" / "tiny-int8"
    assert json.loads((folder / "calibration.json").read_text()) == RECORD
    assert not list(folder.glob("*.manifest.json"))


def test_an_altered_model_is_not_packed(model: Path, x86_wheels: Path, images: Any, tmp_path: Path) -> None:
    manifest_of(model, files={model.name: "0" * 64})
    with pytest.raises(ArtifactError, match="not the file that its manifest describes"):
        packed(tmp_path, x86_wheels, images, model)
    assert not (tmp_path / "x.tar").exists()


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("x.engine", ArtifactError, "does not run on another machine"),
        ("x.pt", ArtifactError, "does not run on another machine"),
        ("a b.onnx", UsageError, "no name for a file of a bundle"),
        ("rot und grün.onnx", UsageError, "no name for a file of a bundle"),
        ("-x.onnx", UsageError, "no name for a file of a bundle"),
    ],
)
def test_files_that_cannot_go_into_a_bundle_are_refused(
    name: str,
    error: type[Exception],
    words: str,
    model: Path,
    x86_wheels: Path,
    images: Any,
    tmp_path: Path,
) -> None:
    path = model.rename(model.with_name(name))
    with pytest.raises(error, match=words):
        packed(tmp_path, x86_wheels, images, path)
    assert not (tmp_path / "x.tar").exists()


def test_two_models_of_one_name_are_refused(
    model: Path, x86_wheels: Path, images: Any, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="two models are called 'tiny-int8'"):
        packed(tmp_path, x86_wheels, images, model, model)


def test_an_openvino_file_is_refused_for_a_jetson(tmp_path: Path, images: Any) -> None:
    (tmp_path / "x.xml").touch()
    with pytest.raises(UsageError, match="no OpenVINO for jetson-orin-nano"):
        packed(tmp_path, tmp_path, images, tmp_path / "x.xml", device="jetson-orin-nano")


def test_an_int8_graph_that_tensorrt_refuses_is_doubted_for_a_jetson(
    tmp_path: Path, images: Any, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = SimpleNamespace(severities={"tensorrt": "error"})
    monkeypatch.setattr("export.bundle.pack.lint", lambda graph, names: [broken])
    model = Path(shutil.copyfile(tiny_model, tmp_path / "tiny.onnx"))
    manifest_of(model)
    device = platform_of("jetson-orin-nano")
    source = ModelSource(name="tiny", path=model)
    out, wheels = tmp_path / "x.tar", fill(tmp_path / "wheels", "aarch64")
    written = write_bundle([source], out, device=device, wheels=wheels, images_bgr=images)
    assert "breaks rules of TensorRT at 1 places" in written.doubts[-1]
    assert written.index.system_packages


def test_an_existing_file_is_kept(
    bundle: Path, tiny_model: Path, x86: DevicePlatform, tmp_path: Path
) -> None:
    before = bundle.read_bytes()
    with pytest.raises(UsageError, match="exists already"):
        write_bundle(
            [ModelSource(name="tiny", path=tiny_model)],
            bundle,
            device=x86,
            wheels=tmp_path,
            images_bgr=[np.zeros((8, 8, 3), np.uint8)],
        )
    assert bundle.read_bytes() == before


def test_another_suffix_is_refused(tiny_model: Path, x86: DevicePlatform, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="ends in neither"):
        write_bundle(
            [ModelSource(name="tiny", path=tiny_model)],
            tmp_path / "x.zip",
            device=x86,
            wheels=tmp_path,
            images_bgr=[],
        )
