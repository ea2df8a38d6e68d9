"""The record beside a model file."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from edgestill.errors import ArtifactError
from edgestill.files import sha256_file
from edgestill.manifest import (
    Manifest,
    check_files,
    checked_manifest,
    manifest_path,
    read_manifest,
    write_manifest,
)
from edgestill.spec import ModelSpec, TensorSpec


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "student.onnx"
    path.write_bytes(b"weights")
    manifest = Manifest(
        spec=ModelSpec(name="yolov5n", input_hw=(32, 64), classes=("red", "green")),
        format="onnx",
        files={path.name: sha256_file(path)},
        precision="fp32",
        precision_proved={"float32": 60},
        inputs=(TensorSpec(name="images", shape=(1, 3, 32, 64), dtype="float32"),),
        outputs=(TensorSpec(name="output0", shape=(1, 126, 7), dtype="float32"),),
        built_with={"onnx": "1.0"},
        parent_sha256="0" * 64,
    )
    write_manifest(path, manifest)
    return path


def read(model: Path) -> Manifest:
    manifest = read_manifest(model)
    assert manifest is not None
    return manifest


def test_a_manifest_survives_its_file(model: Path) -> None:
    first = read(model)
    write_manifest(model, first)
    assert read(model) == first


def test_a_manifest_of_an_earlier_version_is_read(model: Path) -> None:
    path = manifest_path(model)
    data = json.loads(path.read_text())
    for name in ("unproved", "built_on"):
        del data[name]
    path.write_text(json.dumps(data))
    assert read(model).unproved == {}
    assert read(model).built_on is None


def test_the_manifest_lies_beside_its_model(model: Path) -> None:
    assert manifest_path(model).name == "student.onnx.manifest.json"


def test_a_model_without_a_manifest_has_none(tmp_path: Path) -> None:
    assert read_manifest(tmp_path / "x.onnx") is None


def test_an_untouched_model_passes(model: Path) -> None:
    check_files(model, read(model))


def test_an_altered_model_is_refused(model: Path) -> None:
    model.write_bytes(b"other")
    with pytest.raises(ArtifactError, match="not the file that its manifest describes"):
        check_files(model, read(model))


def test_a_missing_model_is_refused(model: Path) -> None:
    manifest = read(model)
    model.unlink()
    with pytest.raises(ArtifactError, match="is missing"):
        check_files(model, manifest)


def test_a_manifest_may_not_name_files_outside_its_folder(model: Path) -> None:
    data = json.loads(manifest_path(model).read_text())
    data["files"] = {"../secret": "0" * 64}
    manifest_path(model).write_text(json.dumps(data))
    with pytest.raises(ArtifactError, match="outside its folder"):
        check_files(model, read(model))


def test_a_manifest_of_another_model_is_refused(model: Path) -> None:
    renamed = model.rename(model.with_name("teacher.onnx"))
    manifest_path(model).rename(manifest_path(renamed))
    with pytest.raises(ArtifactError, match=r"lists student\.onnx, but not teacher\.onnx"):
        checked_manifest(renamed)


def test_all_that_belongs_to_the_model_is_checked(model: Path) -> None:
    manifest = read(model)
    beside = model.with_name("student.bin")
    beside.write_bytes(b"more")
    write_manifest(model, replace(manifest, files={**manifest.files, "student.bin": sha256_file(beside)}))
    assert checked_manifest(model) == read(model)
    beside.write_bytes(b"less")
    with pytest.raises(ArtifactError, match=r"student\.bin is not the file"):
        checked_manifest(model)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("[" * 10**5, id="deep"),
        pytest.param("[1]", id="list"),
        pytest.param('{"schema": 1, "files": 3}', id="fields-missing"),
    ],
)
def test_what_is_no_manifest_is_a_broken_artefact(model: Path, text: str) -> None:
    manifest_path(model).write_text(text)
    with pytest.raises(ArtifactError):
        read_manifest(model)


@pytest.mark.parametrize(
    "change",
    [{"files": 3}, {"spec": None}, {"inputs": [3]}, {"inputs": [{}]}, {"outputs": None}],
)
def test_fields_of_another_form_are_refused(model: Path, change: dict[str, object]) -> None:
    data = json.loads(manifest_path(model).read_text())
    manifest_path(model).write_text(json.dumps({**data, **change}))
    with pytest.raises(ArtifactError, match="is a broken manifest"):
        read_manifest(model)


@pytest.mark.parametrize("change", [{"schema": 99}, {"colour": "red"}])
def test_another_schema_is_refused(model: Path, change: dict[str, object]) -> None:
    data = json.loads(manifest_path(model).read_text())
    manifest_path(model).write_text(json.dumps({**data, **change}))
    with pytest.raises(ArtifactError, match="not a manifest of schema 1"):
        read_manifest(model)
