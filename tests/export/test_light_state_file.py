"""The classifier of light states in every format: what it says stays the same, for any number of lights."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgestill.errors import ArtifactError, UsageError, VerificationError
from edgestill.manifest import check_files, manifest_path, read_manifest
from export.light_state_file import LightStateJob, export_light_states, is_light_states
from export.publish import ExportResult
from export.tensorrt.options import EngineOptions
from export.verify.light_state_check import compare_states, failures
from runtime.light_states.classifier import SHIPPED, SPEC, LightStatesOfFrame, open_light_states

CONVOLUTIONS = 3  # the stand-in lists no matrix products


def publish(out: Path, to: Any, precision: Any, *, source: Path = SHIPPED, **options: Any) -> ExportResult:
    job = LightStateJob(source=source, target=to, precision=precision, engine=EngineOptions(**options))
    return export_light_states(job, out, "m", check=None)


def lights(count: int) -> tuple[Any, Any]:
    """An image of noise, and boxes of every size and shape."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (200, 300, 3), np.uint8)
    corner = rng.uniform(0, 150, (count, 2))
    return image, np.concatenate((corner, corner + rng.uniform(5, 60, (count, 2))), axis=1).astype(np.float32)


def said(file: Path, count: int, **options: Any) -> LightStatesOfFrame:
    classifier = open_light_states(file, threads=options.pop("threads", 1), **options)
    try:
        return classifier(*lights(count))
    finally:
        classifier.close()


def assert_same(file: Path, precision: str) -> None:
    for count in (1, 20):
        compared = compare_states(said(SHIPPED, count), said(file, count))
        assert compared["lights"] == count
        assert compared["difference_max"] <= (1e-5 if precision == "fp32" else 0.01)
        assert compared["red_green_swaps"] == 0


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize(("to", "names"), [("onnx", ["m.onnx"]), ("openvino", ["m.xml", "m.bin"])])
def test_the_file_says_what_its_source_says(
    to: str, names: list[str], precision: str, tmp_path: Path
) -> None:
    made = publish(tmp_path / "out", to, precision)
    assert [path.name for path in made.files] == names
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted([*names, made.manifest.name])
    manifest = read_manifest(made.files[0])
    assert manifest is not None
    check_files(made.files[0], manifest)
    assert manifest.spec == SPEC
    assert manifest.inputs[0].shape == (None, 3, 40, 20)
    stored = {"fp32": "float32", "fp16": "float16"}[precision]
    assert manifest.precision_proved["stored"] == {stored: 14268}
    assert sum(manifest.precision_proved["executed"].values()) == 5
    assert_same(made.files[0], precision)


def test_fp32_onnx_is_the_source_itself(tmp_path: Path) -> None:
    assert publish(tmp_path, "onnx", "fp32").files[0].read_bytes() == SHIPPED.read_bytes()


def test_fp16_computes_all_but_the_softmax_in_fp16(tmp_path: Path) -> None:
    first, second = (publish(tmp_path / name, "onnx", "fp16").files[0] for name in "ab")
    assert first.read_bytes() == second.read_bytes()
    graph = onnx.load(first).graph
    casts = [node.input[0] for node in graph.node if node.op_type == "Cast"]
    assert casts == ["crops", "logits"]
    assert {t.data_type for t in graph.initializer} == {onnx.TensorProto.FLOAT16}
    assert graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT


def test_an_exported_fp16_file_is_no_source(tmp_path: Path) -> None:
    made = publish(tmp_path / "a", "onnx", "fp16")
    with pytest.raises(ArtifactError, match="it was exported already"):
        publish(tmp_path / "b", "openvino", "fp32", source=made.files[0])
    assert not (tmp_path / "b").exists()


def test_another_order_of_the_states_is_refused(tmp_path: Path) -> None:
    model = onnx.load(SHIPPED)
    onnx.helper.set_model_props(model, {"edgestill.light_states": "green,yellow,red,off,unknown"})
    onnx.save(model, tmp_path / "m.onnx")
    assert is_light_states(tmp_path / "m.onnx")
    with pytest.raises(ArtifactError, match="tells 'green,yellow,red,off,unknown', not red,yellow,green"):
        publish(tmp_path / "out", "openvino", "fp32", source=tmp_path / "m.onnx")


def test_an_existing_file_is_not_replaced_unasked(tmp_path: Path) -> None:
    publish(tmp_path, "openvino", "fp32")
    (tmp_path / "m.xml").unlink()
    with pytest.raises(UsageError, match=r"m\.bin exists already"):
        publish(tmp_path, "openvino", "fp16")


def test_a_file_that_differs_is_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def check(built: Path, source: Path) -> dict[str, Any]:
        from export.verify.light_state_check import LIMITS

        compared = compare_states(said(source, 20), said(built, 20))
        if beyond := failures(compared, LIMITS["fp16"]):
            raise VerificationError("; ".join(beyond), hint="")
        return compared

    def wrong(model: onnx.ModelProto, names: Any, largest: Any) -> Any:
        from export.quantize.fp16 import convert_to_fp16

        changed = convert_to_fp16(model, names, largest).model
        bias = next(t for t in changed.graph.initializer if t.name == "logits.bias")
        bias.CopyFrom(
            numpy_helper.from_array(
                numpy_helper.to_array(bias) + np.array([0, 0, 3, 0, 0], np.float16), bias.name
            )
        )
        return replace(convert_to_fp16(model, names, largest), model=changed)

    job = LightStateJob(source=SHIPPED, target="onnx", precision="fp16")
    assert export_light_states(job, tmp_path / "good", "m", check=check).record.verify is not None
    monkeypatch.setattr("export.light_state_file.convert_to_fp16", wrong)
    with pytest.raises(VerificationError, match="a probability differs by"):
        export_light_states(job, tmp_path / "bad", "m", check=check)
    assert not (tmp_path / "bad").exists()


@pytest.mark.default_cases("fp32-8.5.2", "fp16-11.4.0")
@pytest.mark.parametrize("version", ["8.5.2", "8.6.1", "10.3.0", "11.4.0"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_an_engine_takes_up_to_sixteen_lights_at_once(
    version: str, precision: str, tmp_path: Path, on_gpu: Callable[..., Any]
) -> None:
    on_gpu(version)
    made = publish(tmp_path, "tensorrt", precision)
    assert [path.name for path in made.files] == ["m.trt.engine", "m.trt.onnx"]
    engine, record = made.files[0], made.record
    assert record.built_on is not None
    assert record.built_on["profile"] == [[n, 3, 40, 20] for n in (1, 4, 16)]
    assert record.precision_proved["executed"] == {
        {"fp32": "float32", "fp16": "float16"}[precision]: CONVOLUTIONS
    }
    assert record.unproved == {}
    assert_same(engine, precision)
    manifest_path(engine).unlink()
    with pytest.raises(ArtifactError, match="native code without a manifest"):
        open_light_states(engine)


def test_an_engine_with_its_own_profile(tmp_path: Path, on_gpu: Callable[..., Any]) -> None:
    on_gpu("10.3.0")
    made = publish(tmp_path, "tensorrt", "fp16", batches=(1, 1, 2))
    assert open_light_states(made.files[0])._backend.max_batch == 2
    assert_same(made.files[0], "fp16")
    with pytest.raises(UsageError, match="does not contain a single image"):
        publish(tmp_path / "b", "tensorrt", "fp16", batches=(2, 4, 8))


def test_an_engine_in_another_precision_is_not_published(tmp_path: Path, on_gpu: Callable[..., Any]) -> None:
    on_gpu("10.3.0", obeys=False)
    with pytest.raises(VerificationError, match=f"0 of {CONVOLUTIONS} convolutions are executed in float16"):
        publish(tmp_path / "out", "tensorrt", "fp16")
    assert not (tmp_path / "out").exists()


@pytest.mark.default_cases("fp16")
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_tensorrt_rtx_builds_it_for_real(
    precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorrt_rtx", reason="no TensorRT-RTX for this machine")
    for name in ("XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    made = publish(tmp_path / "out", "tensorrt-rtx", precision, capabilities=("8.6",))
    dtype = {"fp32": "float32", "fp16": "float16"}[precision]
    assert made.record.precision_proved == {"planned": {dtype: 5}, "stored": {dtype: 14268}}
    assert_same(made.files[1], precision)


def test_the_manifest_of_a_classifier_is_checked(tmp_path: Path) -> None:
    made = publish(tmp_path, "onnx", "fp32")
    for change in ({"classes": 3}, {"input_hw": [40]}, {"name": None}):
        data = json.loads(made.manifest.read_text())
        made.manifest.write_text(json.dumps({**data, "spec": {**asdict(SPEC), **change}}))
        with pytest.raises(ArtifactError, match="broken fields"):
            read_manifest(made.files[0])
