"""``edgestill doctor --for``, and ``edgestill doctor`` on recorded machines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from rich.console import Console

from devices.detect import detect
from edgestill.cli import deployment_report
from edgestill.cli.main import main
from edgestill.cli.verbs import doctor
from edgestill.errors import ArtifactError
from edgestill.manifest import manifest_path, read_manifest
from tests.devices.machines import MACHINES, Machine


def answer(capsys: pytest.CaptureFixture[str], *words: str, exit_code: int = 0) -> dict[str, Any]:
    assert main(["doctor", *words]) == exit_code
    result = json.loads(capsys.readouterr().out)
    assert isinstance(result, dict)
    return result


def said(result: dict[str, Any], severity: str) -> str:
    return "\n".join(f["what"] for f in result["findings"] if f["severity"] == severity)


def write_plain_manifest(model: Path, **values: Any) -> None:
    """A manifest without any proof beside a file."""
    spec = {"name": "light-states", "classes": ["red"], "input_hw": [8, 8], "layout": "probabilities"}
    manifest: dict[str, Any] = {"schema": 1, "spec": spec, "parent_sha256": ""}
    manifest |= {name: {} for name in ("files", "precision_proved", "built_with")}
    manifest |= {"inputs": [], "outputs": [], "calibration": None, "verify": None}
    manifest_path(model).write_text(json.dumps({**manifest, **values}))


@pytest.fixture
def quantised(tmp_path: Path) -> Path:
    """A convolution with asymmetric activations, as for OpenVINO; its batch is free."""
    weights = numpy_helper.from_array(np.ones((8, 3, 1, 1), np.float32), "w")
    scale = numpy_helper.from_array(np.float32(0.01), "s")
    zero = numpy_helper.from_array(np.uint8(7), "z")
    nodes = [
        helper.make_node("QuantizeLinear", ["images", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("Conv", ["d", "w"], ["y"]),
    ]
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 8, 8])
    outputs = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 8, 8, 8])
    graph = helper.make_graph(nodes, "g", [images], [outputs], [weights, scale, zero])
    path = tmp_path / "asymmetric.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.mark.parametrize(
    ("words", "exit_code"),
    [
        (["--for", "jetson-nano"], 0),
        (["--for", "jetson-nano", "--precision", "int8"], 5),
        (["--for", "jetson-nano", "--precision", "fp16"], 0),
        (["--for", "v100", "--precision", "int8"], 0),
        (["--for", "v100", "--tensorrt", "10.5"], 5),
        (["--for", "v100", "--tensorrt", "10.4.0.26"], 0),
        (["--for", "jetson-orin-nano-super", "--model", "student", "--precision", "int8"], 0),
        (["--for", "raspberry-pi-5", "--model", "student"], 0),
    ],
)
def test_the_exit_code_says_whether_it_can_run(
    words: list[str], exit_code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    result = answer(capsys, *words, exit_code=exit_code)
    assert result["can"] == (exit_code == 0)


def test_a_refusal_has_two_lines_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--for", "v100", "--tensorrt", "10.7"]) == 5
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("edgestill doctor: TensorRT 10.7 has no kernels for V100 SXM2")
    assert second == "  hint: pip install 'tensorrt-cu12==10.4.*', which needs CUDA 12"


def test_without_a_precision_each_one_is_answered(capsys: pytest.CaptureFixture[str]) -> None:
    result = answer(capsys, "--for", "jetson-nano")
    assert {name: row["can"] for name, row in result["precisions"].items()} == {
        "fp32": True,
        "fp16": True,
        "int8": False,
    }
    refusal = next(f for f in result["findings"] if f["severity"] == "error")
    assert refusal["precisions"] == ["int8"]
    assert (result["tensorrt"], result["imported"]) == ("8.2.1", False)


def test_a_file_is_held_against_the_rules_of_the_library_on_the_device(
    quantised: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = answer(capsys, "--for", "jetson-orin-nano", "--model", str(quantised), exit_code=5)
    assert (result["model"]["precision"], result["model"]["opset"]) == ("int8", 17)
    assert result["model"]["free_axes"] == ["batch"]
    assert "has errors for tensorrt" in said(result, "error")
    assert "has a free batch" in said(result, "note")
    # ONNX Runtime on a CPU takes such a file.
    assert answer(capsys, "--for", "x86-avx512-vnni", "--model", str(quantised))["can"]


def test_the_opset_of_a_file_is_too_new_for_a_nano(
    quantised: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = answer(capsys, "--for", "jetson-nano", "--model", str(quantised), exit_code=5)
    assert "up to opset 13" in said(result, "error")


def test_an_engine_is_held_against_the_platform_in_its_manifest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = tmp_path / "x.engine"
    engine.write_bytes(b"plan")
    result = answer(capsys, "--for", "jetson-orin-nano", "--model", str(engine), exit_code=5)
    assert "without a manifest" in said(result, "error")
    built_on = {"family": "tensorrt", "version": "10.3.0.30", "gpu": "Orin", "compute_capability": "8.7"}
    built_on |= {"system": "x", "portable": []}
    write_plain_manifest(engine, format="tensorrt", precision="fp16", built_on=built_on)
    result = answer(capsys, "--for", "jetson-orin-nano", "--model", str(engine))
    assert result["tensorrt"] == "10.3.0.30"  # the one that built it
    result = answer(capsys, "--for", "t4", "--model", str(engine), exit_code=5)
    assert "built for compute capability 8.7" in said(result, "error")


def test_a_bf16_file_is_judged_as_what_a_cpu_without_bf16_computes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "a.xml"
    model.write_text("<net/>")
    write_plain_manifest(model, format="openvino", precision="bf16")
    result = answer(capsys, "--for", "raspberry-pi-5", "--model", str(model))
    assert result["model"]["precision"] == "bf16"
    assert list(result["precisions"]) == ["fp32"]
    assert "a.xml computes in bf16 where the CPU has AVX512_BF16 or AMX, else in FP32" in said(result, "note")
    same = answer(capsys, "--for", "raspberry-pi-5", "--model", str(model), "--precision", "fp32")
    assert same["precisions"] == result["precisions"]


@pytest.mark.parametrize(
    ("name", "form", "precision"), [("a.xml", "openvino", "bf17"), ("a.onnx", "onnx", "bf16")]
)
def test_a_manifest_of_a_file_that_nothing_writes_is_broken(
    name: str, form: str, precision: str, tmp_path: Path
) -> None:
    write_plain_manifest(tmp_path / name, format=form, precision=precision)
    with pytest.raises(ArtifactError, match=f"a {form} file of the precision '{precision}'"):
        read_manifest(tmp_path / name)


@pytest.mark.parametrize(
    ("words", "exit_code", "message"),
    [
        (["--model", "student"], 2, "--model: for which device?"),
        (["--for", "jetson-nanno"], 2, "no device is called 'jetson-nanno'"),
        (["--for", "v100", "--tensorrt", "new"], 2, "--tensorrt new is no version"),
        (["--for", "x86-amx", "--tensorrt", "10.3"], 2, "x86-amx has none"),
        (["--for", "v100", "--model", "gone.onnx"], 4, "gone.onnx does not exist"),
        (["--for", "v100", "--model", "x.txt"], 4, "x.txt is not a model file"),
        (["--for", "v100", "--model", "broken.onnx"], 4, "broken.onnx"),
        (["--for", "v100", "--model", "asymmetric.onnx", "--precision", "fp16"], 2, "is int8, not fp16"),
    ],
)
def test_bad_input_is_two_lines(
    words: list[str],
    exit_code: int,
    message: str,
    quantised: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(quantised.parent)
    Path("x.txt").write_text("x")
    Path("broken.onnx").write_bytes(b"\x08\x01\xff")
    assert main(["doctor", *words]) == exit_code
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 2


def test_here_is_the_profile_of_this_machine(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(deployment_report, "detect", lambda: detect(tmp_path, arch="x86_64", cards=str))
    assert answer(capsys, "--for", "here")["device"] == "generic-x86"
    monkeypatch.setattr(deployment_report, "detect", lambda: detect(tmp_path, arch="riscv64", cards=str))
    assert main(["doctor", "--for", "here"]) == 5
    assert "no profile describes the architecture riscv64" in capsys.readouterr().err


@pytest.mark.parametrize("width", [80, 120])
def test_a_person_sees_precisions_then_errors_first(width: int, capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(width=width, record=True)
    console.print(doctor.show(answer(capsys, "--for", "jetson-nano")))
    text = console.export_text()
    assert text.startswith("Jetson Nano 4 GB (jetson-nano), compute capability 5.3, TensorRT 8.2.1")
    assert "by trtexec" in text
    assert text.index("error") < text.index("warning") < text.index("note")
    assert "…" not in text


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
def test_doctor_is_right_about_every_recorded_machine(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "version", lambda name: None)
    found = detect(machine.write(tmp_path), arch=machine.arch, cards=lambda: machine.cards)
    advice = "\n".join(doctor._advice(found))
    assert machine.advice in advice
    assert ("no profile describes" in advice) == (machine.key is None)
    lacks_int8 = (machine.key or "").startswith(("v100", "jetson-nano", "jetson-tx2"))
    assert ("does not support INT8" in advice or "INT8 is not faster" in advice) == lacks_int8
