"""What passes is published whole; what does not leaves nothing behind."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import openvino as ov
import pytest

from edgestill.checkpoint import Checkpoint
from edgestill.dataset import Dataset
from edgestill.errors import DeviceError, UsageError, VerificationError
from edgestill.files import sha256_file
from edgestill.manifest import check_files, read_manifest
from export.build import export
from export.job import Job
from export.publish import ExportResult
from export.quantize.calibration.images import Calibration, choose_images
from runtime.detector import open_detector

HAS_BF16 = "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def passes(built: Path, source: Path) -> Mapping[str, Any]:
    assert built.exists()
    assert source.exists()
    return {"matched": 1}


def fails(built: Path, source: Path) -> Mapping[str, Any]:
    raise VerificationError("too far", hint="nothing")


def publish(
    checkpoint: Checkpoint, out: Path, *, to: Any = "onnx", precision: Any = "fp32", **options: Any
) -> ExportResult:
    job = Job(
        checkpoint=checkpoint,
        target=to,
        precision=precision,
        calibration=options.pop("calibration", None),
        cache=options.pop("cache", None),
    )
    return export(job, out, "m", check=options.pop("check", passes), **options)


@pytest.mark.default_cases("onnx-int8-names2", "openvino-fp16-names4")
@pytest.mark.parametrize(
    ("to", "precision", "names"),
    [
        ("onnx", "fp32", ["m.onnx"]),
        ("onnx", "fp16", ["m.onnx"]),
        ("onnx", "int8", ["m.onnx"]),
        ("openvino", "fp32", ["m.xml", "m.bin"]),
        ("openvino", "fp16", ["m.xml", "m.bin"]),
        ("openvino", "int8", ["m.xml", "m.bin"]),
    ],
)
def test_the_files_and_their_manifest_are_published(
    to: str,
    precision: str,
    names: list[str],
    tmp_path: Path,
    checkpoint: Checkpoint,
    dataset: Dataset,
    seen_before: Path,
) -> None:
    calibration = choose_images(dataset, checkpoint.spec, count=2) if precision == "int8" else None
    made = publish(
        checkpoint, tmp_path / "out", to=to, precision=precision, calibration=calibration, cache=seen_before
    )
    assert [path.name for path in made.files] == names
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted([*names, made.manifest.name])


@pytest.mark.skipif(not HAS_BF16, reason="this CPU has no bf16")
def test_a_bf16_file_says_so_and_is_run_so(tmp_path: Path, checkpoint: Checkpoint) -> None:
    made = publish(checkpoint, tmp_path / "out", to="openvino", precision="bf16")
    with closing(open_detector(made.files[0], threads=1)) as detector:
        assert detector.backend.layers_by_dtype()["bfloat16"] >= 57
    assert made.record.precision == "bf16"
    assert made.record.precision_proved["stored"].keys() == {"float16"}


def test_bf16_needs_a_cpu_that_can_prove_it(
    tmp_path: Path, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OldCpu:
        def get_property(self, device: str, name: str) -> list[str]:
            assert (device, name) == ("CPU", "OPTIMIZATION_CAPABILITIES")
            return ["FP32", "INT8", "BIN"]

    monkeypatch.setattr("export.graph.openvino.ov.Core", OldCpu)
    with pytest.raises(DeviceError, match="this CPU has no bf16"):
        publish(checkpoint, tmp_path / "out", to="openvino", precision="bf16")
    assert not (tmp_path / "out").exists()


@pytest.mark.default_cases("onnx")
@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_the_runtime_reads_the_spec_from_the_file(to: str, tmp_path: Path, checkpoint: Checkpoint) -> None:
    made = publish(checkpoint, tmp_path / "out", to=to)
    assert open_detector(made.files[0], threads=1).spec == checkpoint.spec


def test_the_manifest_tells_parent_hashes_and_what_was_proved(tmp_path: Path, checkpoint: Checkpoint) -> None:
    made = publish(checkpoint, tmp_path / "out", to="openvino", precision="fp16")
    manifest = read_manifest(made.files[0])
    assert manifest is not None
    check_files(made.files[0], manifest)
    assert manifest.parent_sha256 == checkpoint.sha256
    assert manifest.precision_proved["stored"]["float16"] > 1_000_000
    assert manifest.verify == {"matched": 1}


def test_the_calibration_record_is_in_the_manifest(
    tmp_path: Path, checkpoint: Checkpoint, dataset: Dataset, seen_before: Path
) -> None:
    calibration = choose_images(dataset, checkpoint.spec, count=2)
    made = publish(checkpoint, tmp_path / "out", precision="int8", calibration=calibration, cache=seen_before)
    record = made.record.calibration
    assert record is not None
    assert record["images"] == calibration.record.images
    assert record["strata"] == calibration.record.strata
    assert record["tuning"]["method"] == "mse"
    assert record["ranges"]["images"] == [0.0, 1.0, "pixels"]
    assert {origin for _, _, origin in record["ranges"].values()} == {"pixels", "sigmoid", "mse"}
    assert "model.17.cv3.conv" in record["left_float"]


@pytest.mark.slow
def test_both_int8_files_come_from_one_record(
    tmp_path: Path, checkpoint: Checkpoint, dataset: Dataset
) -> None:
    calibration = choose_images(dataset, checkpoint.spec, count=2)
    records = [
        publish(
            checkpoint, tmp_path / to, to=to, precision="int8", calibration=calibration
        ).record.calibration
        for to in ("onnx", "openvino")
    ]
    own = {"left_float", "ranges"}  # of each family's own form
    shared = [{k: v for k, v in (r or {}).items() if k not in own} for r in records]
    assert shared[0] == shared[1]


@pytest.mark.slow
def test_a_second_export_is_the_same_to_the_byte_without_a_look_at_an_image(
    tmp_path: Path, checkpoint: Checkpoint, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    calibration = choose_images(dataset, checkpoint.spec, count=2)
    job = Job(
        checkpoint=checkpoint,
        target="onnx",
        precision="int8",
        calibration=calibration,
        cache=tmp_path / "cache",
    )
    export(job, tmp_path / "a", "m", check=passes)
    monkeypatch.setattr(Calibration, "tensors", lambda self: pytest.fail("it looked"))
    export(job, tmp_path / "b", "m", check=passes)
    for name in ("m.onnx", "m.onnx.manifest.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    entropy = export(replace(job, method="entropy"), tmp_path / "c", "m", check=passes).record.calibration
    assert entropy is not None
    assert entropy["tuning"]["method"] == "entropy"
    assert sha256_file(tmp_path / "c" / "m.onnx") != sha256_file(tmp_path / "a" / "m.onnx")


def test_a_file_that_differs_too_much_is_not_published(tmp_path: Path, checkpoint: Checkpoint) -> None:
    with pytest.raises(VerificationError, match="too far"):
        publish(checkpoint, tmp_path / "out", check=fails)
    assert not (tmp_path / "out").exists()


def test_a_failure_leaves_the_older_file_as_it_was(tmp_path: Path, checkpoint: Checkpoint) -> None:
    made = publish(checkpoint, tmp_path / "out")
    before = {path.name: sha256_file(path) for path in (tmp_path / "out").iterdir()}
    with pytest.raises(VerificationError):
        publish(checkpoint, tmp_path / "out", check=fails, force=True)
    assert {path.name: sha256_file(path) for path in made.files[0].parent.iterdir()} == before


def test_an_older_file_is_not_replaced_unasked(tmp_path: Path, checkpoint: Checkpoint) -> None:
    publish(checkpoint, tmp_path / "out")
    with pytest.raises(UsageError, match="exists already"):
        publish(checkpoint, tmp_path / "out")


def test_force_replaces_it(tmp_path: Path, checkpoint: Checkpoint) -> None:
    publish(checkpoint, tmp_path / "out")
    assert publish(checkpoint, tmp_path / "out", precision="fp16", force=True).record.precision == "fp16"


def test_int8_without_images_is_refused(tmp_path: Path, checkpoint: Checkpoint) -> None:
    with pytest.raises(UsageError, match="needs images to calibrate on"):
        publish(checkpoint, tmp_path / "out", precision="int8")


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path, checkpoint: Checkpoint) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError, match="cannot be written"):
        publish(checkpoint, tmp_path / "file" / "out")
