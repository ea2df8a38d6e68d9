"""What can run on a device: one case for each rule, and what every device and precision must fulfil."""

from __future__ import annotations

import pytest

from devices.deployment.check import check
from devices.deployment.question import Deployment, ModelFacts
from devices.profile import load_profile, load_profiles
from devices.tensorrt_support import LAST, NO_INT8
from edgestill.spec import PRECISIONS, Precision

BUILT = {
    "family": "tensorrt",
    "version": "10.3.0.30",
    "gpu": "Orin",
    "compute_capability": "8.7",
    "system": "L4T 36.4.3",
    "portable": [],
}


def asked(
    key: str, precision: Precision = "fp16", tensorrt: str | None = None, model: ModelFacts | None = None
) -> Deployment:
    device = load_profile(key)
    version = tensorrt or device.software.get("tensorrt")
    return Deployment(device=device, precision=precision, tensorrt=version, model=model)


def said(deployment: Deployment, severity: str) -> str:
    return "\n".join(f"{f.what} | {f.hint}" for f in check(deployment) if f.severity == severity)


def onnx(**facts: object) -> ModelFacts:
    return ModelFacts(**{"name": "x.onnx", "format": "onnx", "opset": 17, **facts})  # type: ignore[arg-type]


def engine(**built_on: object) -> ModelFacts:
    return ModelFacts(name="x.engine", format="engine", precision="fp16", built_on={**BUILT, **built_on})


@pytest.mark.parametrize(
    ("deployment", "error"),
    [
        pytest.param(asked("jetson-nano", "int8"), "does not support INT8: no INT8 units", id="nano-int8"),
        pytest.param(asked("jetson-tx2", "int8"), "does not support INT8", id="tx2-int8"),
        pytest.param(asked("v100", tensorrt="10.5.0"), "10.4 is the last version that has", id="v100-10.5"),
        pytest.param(asked("v100", tensorrt="11.4.0"), "tensorrt-cu12==10.4", id="v100-11"),
        pytest.param(asked("jetson-nano", tensorrt="8.5.2"), "8.2 is the last", id="nano-8.5"),
        pytest.param(asked("jetson-xavier-nx", tensorrt="10.3"), "8.5 is the last", id="xavier-10"),
        pytest.param(asked("rtx-5090", tensorrt="10.3"), "10.8 is the first version that has", id="rtx-50"),
        pytest.param(asked("jetson-thor-t5000", tensorrt="10.3"), "10.13 is the first", id="thor-10.3"),
        pytest.param(
            asked("jetson-nano", model=onnx(precision="fp32")), "up to opset 13; x.onnx has 17", id="opset"
        ),
        pytest.param(
            asked("jetson-nano", model=onnx(precision="fp16", opset=13)), "no FP16 weights", id="fp16-file"
        ),
        pytest.param(
            asked("jetson-nano", model=onnx(opset=13, input_dtype="uint8")), "no uint8 inputs", id="uint8"
        ),
        pytest.param(
            asked("jetson-orin-nano", "int8", model=onnx(faults={"tensorrt": ("zero-point",)})),
            "x.onnx has errors for tensorrt: zero-point",
            id="lint",
        ),
        pytest.param(
            asked("t4", model=ModelFacts(name="x.xml", format="openvino")), "is for OpenVINO", id="openvino"
        ),
        pytest.param(asked("x86-amx", model=engine()), "is an engine for an NVIDIA GPU", id="engine-on-cpu"),
        pytest.param(
            asked("t4", model=ModelFacts(name="x.engine", format="engine")),
            "native code without a manifest",
            id="engine-of-others",
        ),
        pytest.param(
            asked("t4", model=engine()),
            "was built for compute capability 8.7; T4 has 7.5",
            id="engine-of-orin",
        ),
        pytest.param(
            asked("jetson-orin-nano", tensorrt="10.16.2", model=engine()),
            "was built by TensorRT 10.3.0.30; 10.16.2 does not load it",
            id="engine-of-another-version",
        ),
        pytest.param(
            asked("v100", model=engine(gpu="any", compute_capability="8.6 8.9", system="any")),
            "was built for compute capability 8.6 8.9",
            id="rtx-engine",
        ),
    ],
)
def test_what_cannot_run_is_an_error(deployment: Deployment, error: str) -> None:
    assert error in said(deployment, "error")


@pytest.mark.parametrize(
    "deployment",
    [
        pytest.param(asked("v100", tensorrt="10.4.0.26"), id="v100-10.4"),
        pytest.param(asked("t4", "int8", "11.4.1"), id="t4"),
        pytest.param(asked("jetson-orin-nano-super", "int8"), id="orin-int8"),
        pytest.param(asked("jetson-nano", model=onnx(precision="fp32", opset=13)), id="nano-opset-13"),
        pytest.param(asked("jetson-orin-nano", tensorrt="10.3", model=engine()), id="engine-of-its-own"),
        pytest.param(
            asked("a10", tensorrt="10.3.0", model=engine(compute_capability="8.0", portable=["hardware"])),
            id="portable-engine",
        ),
        pytest.param(
            asked("rtx-3090", model=engine(gpu="any", compute_capability="8.6 8.9", version="1.7.1")),
            id="rtx-engine",
        ),
        pytest.param(asked("raspberry-pi-5", "int8", model=onnx(precision="int8")), id="pi"),
        pytest.param(
            asked("x86-avx2", "int8", model=onnx(faults={"openvino": ("zero-point",)})),
            id="a-cpu-has-another-library",
        ),
    ],
)
def test_what_can_run_has_no_error(deployment: Deployment) -> None:
    assert not said(deployment, "error")


@pytest.mark.parametrize(
    ("deployment", "warning"),
    [
        pytest.param(
            asked("v100", "int8"), "62.7 TOPS (DP4A on CUDA cores, no tensor cores)", id="v100-int8"
        ),
        pytest.param(asked("gtx-1080", "fp16"), "FP16 is not faster than FP32", id="pascal-fp16"),
        pytest.param(asked("x86-avx2", "int8"), "it has no INT8 dot product", id="avx2"),
        pytest.param(asked("x86-amx", "fp16"), "FP16 files are computed in FP32", id="cpu-fp16"),
        pytest.param(asked("jetson-orin-nano", "int8", "10.3.0.30"), "lost accuracy with INT8", id="10.3"),
        pytest.param(asked("l4", tensorrt="11.2.1"), "miscompiles", id="11.2.1"),
        pytest.param(asked("jetson-nano"), "for Python 3.6", id="jetpack-4"),
        pytest.param(asked("jetson-xavier-nx"), "for Python 3.8", id="jetpack-5"),
        pytest.param(asked("jetson-orin-nx", tensorrt="8.5.2"), "for Python 3.8", id="orin-jetpack-5"),
        pytest.param(asked("gtx-1080", tensorrt="8.4"), "older than 8.5", id="old-interface"),
        pytest.param(asked("jetson-orin-nano", tensorrt="9.1"), "no known JetPack", id="no-jetpack"),
        pytest.param(
            asked("jetson-orin-nano", tensorrt="10.3", model=engine()),
            "was built on Orin, L4T 36.4.3, TensorRT 10.3.0.30: only the same three load it",
            id="engine",
        ),
    ],
)
def test_what_speaks_against_it_is_a_warning(deployment: Deployment, warning: str) -> None:
    assert warning in said(deployment, "warning")
    assert not said(deployment, "error")


@pytest.mark.parametrize(
    ("deployment", "note"),
    [
        pytest.param(asked("jetson-orin-nano"), "6.2.2: 10.3.0, 7.2.1: 10.16.2", id="jetpacks"),
        pytest.param(asked("jetson-agx-orin", tensorrt="10.3"), "2 DLA cores take FP16", id="dla"),
        pytest.param(asked("jetson-agx-orin", tensorrt="10.16.2"), "no DLA: it ended with 10.7", id="no-dla"),
        pytest.param(asked("jetson-orin-nx", tensorrt="11.4.1"), "DLA on an AGX Orin only", id="nx-dla"),
        pytest.param(asked("rtx-4090"), "--compute-capability 8.9", id="rtx"),
        pytest.param(asked("jetson-nano"), "up to opset 13", id="opset"),
        pytest.param(asked("t4", model=onnx(free_axes=("batch",))), "has a free batch", id="free-axes"),
    ],
)
def test_what_is_worth_knowing_is_a_note(deployment: Deployment, note: str) -> None:
    assert note in said(deployment, "note")


@pytest.mark.parametrize("device", load_profiles(), ids=lambda device: device.key)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_device_has_an_answer_with_hints(device: object, precision: Precision) -> None:
    deployment = asked(device.key, precision)  # type: ignore[attr-defined]
    found = check(deployment)
    assert all(finding.hint for finding in found if finding.severity != "note")
    lacking = deployment.capability in NO_INT8 and precision == "int8"
    assert any(finding.severity == "error" for finding in found) == lacking
    assert not any("\n" in finding.what or "None" in finding.what for finding in found)


def test_each_last_tensorrt_of_the_table_is_a_border() -> None:
    for device in load_profiles():
        if last := LAST.get(device.compute_capability or ""):
            major, minor = last
            assert not said(asked(device.key, "fp32", f"{major}.{minor}.9"), "error"), device.key
            assert said(asked(device.key, "fp32", f"{major}.{minor + 1}.0"), "error"), device.key
