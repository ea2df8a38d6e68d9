"""``edgestill doctor``."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from rich.console import Console

from devices.detect import DeviceSnapshot, detect
from devices.jetson import Jetson
from devices.nvidia import Gpu
from devices.software import Extra
from edgestill.cli.main import main
from edgestill.cli.verbs import doctor
from edgestill.installation import pip_command

GOOD = Extra(name="base", installed={"numpy": "2.0"}, missing=(), outdated=())


@pytest.fixture
def healthy(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without faults, for tests that plant one."""
    monkeypatch.setattr(doctor, "read_extras", lambda: (GOOD,))
    monkeypatch.setattr(doctor, "shadowed", lambda home: {})
    monkeypatch.setattr(doctor, "version", lambda name: None)
    monkeypatch.setattr(doctor, "check_imports", tuple)
    return monkeypatch


def found(capsys: pytest.CaptureFixture[str]) -> dict[str, list[dict[str, str]]]:
    assert main(["doctor"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert isinstance(result, dict)
    return result


@pytest.mark.parametrize(
    "extras", ["found[:1]", pytest.param("found", marks=pytest.mark.slow)], ids=["base", "all"]
)
def test_this_environment_is_described_by_a_process_without_inference_libraries_and_torch(
    extras: str,
) -> None:
    code = f"""
import sys
from edgestill.cli.main import main
from edgestill.cli.verbs import doctor
found = doctor.read_extras()
assert found[0].name == "base"
doctor.read_extras = lambda: {extras}
main(["doctor", "--json"])
print(*sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    described, _, modules = done.stdout.rstrip("\n").rpartition("\n")
    base = next(part for part in json.loads(described)["parts"] if part["name"] == "base")
    assert "numpy" in base["installed"]
    assert not {"torch", "ultralytics", "onnx", "onnxruntime", "openvino", "cv2"} & set(modules.split())


def test_an_environment_without_faults_is_ok(
    healthy: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    result = found(capsys)
    assert result["ok"]
    assert not result["problems"]


def test_a_missing_base_library_is_a_problem_with_its_command(
    healthy: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = replace(GOOD, missing=("opencv-python",))
    healthy.setattr(doctor, "read_extras", lambda: (broken,))
    (problem,) = found(capsys)["problems"]
    assert problem == {"what": "missing, too old or broken: opencv-python", "hint": pip_command()}


def test_a_missing_extra_is_no_problem_but_has_its_command(
    healthy: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lacking = Extra(name="train", installed={}, missing=("torch",), outdated=())
    healthy.setattr(doctor, "read_extras", lambda: (GOOD, lacking))
    result = found(capsys)
    assert result["ok"]
    assert result["parts"][1]["command"] == pip_command("train")


def test_a_library_that_is_there_and_cannot_be_imported_is_a_problem(
    healthy: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = replace(GOOD, broken={"opencv-python": "ImportError: libGL.so.1: no such file"})
    healthy.setattr(doctor, "check_imports", lambda extras: (broken,))
    result = found(capsys)
    (problem,) = result["problems"]
    assert "opencv-python (ImportError: libGL.so.1: no such file)" in problem["what"]
    assert problem["hint"] == "pip install --force-reinstall --no-deps opencv-python"
    assert not result["parts"][0]["ready"]


@pytest.mark.parametrize("name", ["video", "train", "report", "eval"])
def test_every_extra_that_a_verb_needs_is_listed(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:  # importing is tried in tests/devices
        patch.setattr(doctor, "check_imports", tuple)
        assert name in {part["name"] for part in found(capsys)["parts"]}


def test_what_nvidia_smi_says_instead_of_cards_is_advice(
    healthy: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "nvidia-smi: Failed to initialize NVML: Driver/library version mismatch"
    healthy.setattr(doctor, "detect", lambda: replace(machine(), no_gpu=said))
    assert said in found(capsys)["advice"]


def test_a_shadowed_name_is_a_problem(
    healthy: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    healthy.setattr(doctor, "shadowed", lambda home: {"runtime": "/tmp/runtime.py"})
    (problem,) = found(capsys)["problems"]
    assert "`import runtime` gives /tmp/runtime.py" in problem["what"]


def test_two_builds_of_opencv_are_a_problem(
    healthy: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    healthy.setattr(doctor, "version", lambda name: "5.0" if "contrib" not in name else None)
    (problem,) = found(capsys)["problems"]
    assert "opencv-python and opencv-python-headless are both installed" in problem["what"]


def test_opencv_with_another_build_of_the_same_module_is_one(
    healthy: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where only the headless build is installed, cv2 is a module without the metadata of opencv-python."""
    found_by_name = {"opencv-python": "unknown", "opencv-python-headless": "5.0"}
    healthy.setattr(doctor, "version", found_by_name.get)
    assert found(capsys)["problems"] == []


def test_a_missing_opencv_is_a_problem_with_both_ways_to_get_it(
    healthy: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lacking = Extra(name="opencv", installed={}, missing=("opencv-python",), outdated=())
    healthy.setattr(doctor, "read_extras", lambda: (GOOD, lacking))
    (problem,) = found(capsys)["problems"]
    assert "needs 'cv2', which is not installed" in problem["what"]
    assert problem["hint"].startswith(pip_command("opencv"))
    assert "sudo apt install python3-opencv" in problem["hint"]


def test_an_opencv_for_the_other_numpy_gets_the_numpy_that_it_needs(
    healthy: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    why = "ImportError: numpy.core.multiarray failed to import"
    installed = {"opencv-python": "unknown"}
    broken = Extra(name="opencv", installed=installed, missing=(), outdated=(), broken={"opencv-python": why})
    healthy.setattr(doctor, "check_imports", lambda extras: (GOOD, broken))
    (problem,) = found(capsys)["problems"]
    assert problem == {"what": f"OpenCV cannot be imported: {why}", "hint": "pip install 'numpy<2'"}


@pytest.mark.parametrize(("number", "is_told"), [("5.0", True), ("unknown", False)])
def test_pips_opencv_on_a_jetson_is_advised_against(
    number: str, is_told: bool, healthy: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    jetson = Jetson(
        model="Orin",
        modules=(),
        super_mode=False,
        l4t="36.4",
        power_mode=None,
        clocks_locked=None,
        gpu_mhz=None,
    )
    healthy.setattr(doctor, "detect", lambda: replace(machine(), jetson=jetson))
    healthy.setattr(doctor, "version", {"opencv-python": number}.get)
    lines = [str(line) for line in found(capsys)["advice"]]
    assert any("pip uninstall -y opencv-python;" in line for line in lines) is is_told


def test_a_project_that_is_not_installed_is_a_problem(
    healthy: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    healthy.setattr(doctor, "read_extras", lambda: ())
    (problem,) = found(capsys)["problems"]
    assert problem["hint"].startswith("pip install ")


def machine(**cpu: object) -> DeviceSnapshot:
    here = detect()
    plain = {"flags": ("avx2",), "cores": 8, "allowed_cores": 8, "quota_cores": None}
    return replace(here, cpu=replace(here.cpu, **{**plain, **cpu}), jetson=None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("snapshot", "advice"),
    [
        pytest.param(machine(), "no INT8 dot product", id="no-vnni"),
        pytest.param(machine(flags=("avx512_vnni", "avx512_bf16")), "bfloat16", id="bf16"),
        pytest.param(
            machine(flags=("avx_vnni",), quota_cores=2.0), "2 of 8 cores: add --threads 2", id="quota"
        ),
    ],
)
def test_what_decides_speed_is_advice(
    snapshot: DeviceSnapshot, advice: str, healthy: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    healthy.setattr(doctor, "detect", lambda: snapshot)
    (line,) = found(capsys)["advice"]
    assert advice in line


def test_a_person_sees_the_command_with_its_brackets(
    healthy: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lacking = Extra(name="onnx", installed={}, missing=("onnx",), outdated=())
    healthy.setattr(doctor, "read_extras", lambda: (GOOD, lacking))
    console = Console(width=160, record=True)
    console.print(doctor.show(found(capsys)))
    assert pip_command("onnx") in console.export_text()


def card(**facts: object) -> Gpu:
    plain = {"name": "Tesla V100-SXM2-16GB", "compute_capability": "7.0", "memory_mib": 16384}
    rest = {"driver": "550.54", "power_limit_w": None, "max_sm_mhz": None}
    return Gpu(**{**plain, **rest, **facts})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("installed", "gpu", "advice"),
    [
        ("10.16.1", card(), "TensorRT 10.16.1 does not support Tesla V100-SXM2-16GB; 10.4 is the last"),
        (
            None,
            card(),
            "fastest backend on Tesla V100-SXM2-16GB, is missing: pip install 'tensorrt-cu12==10.4.*'",
        ),
        (None, card(name="NVIDIA L4", compute_capability="8.9"), pip_command("tensorrt")),
    ],
)
def test_a_gpu_without_its_tensorrt_is_advised(
    installed: str | None,
    gpu: Gpu,
    advice: str,
    healthy: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    healthy.setattr(doctor, "detect", lambda: replace(machine(), gpus=(gpu,)))
    healthy.setattr(doctor, "version", lambda name: installed if name == "tensorrt" else None)
    lines = found(capsys)["advice"]
    assert any(advice in str(line) for line in lines)


def test_a_gpu_with_its_tensorrt_needs_no_advice(
    healthy: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    healthy.setattr(doctor, "detect", lambda: replace(machine(), gpus=(card(),)))
    healthy.setattr(doctor, "version", lambda name: "10.4.0" if name == "tensorrt" else None)
    assert not any("TensorRT" in str(line) for line in found(capsys)["advice"])


def test_on_a_gpu_it_is_told_what_cuda_is_called_by(
    healthy: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    healthy.setattr(doctor, "detect", lambda: replace(machine(), gpus=()))
    assert found(capsys)["cuda_calls"] is None
    healthy.setattr(doctor, "detect", lambda: replace(machine(), gpus=(card(),)))
    result = found(capsys)
    assert str(result["cuda_calls"]).startswith(("ctypes on libcuda.so.1; pycuda ", "pycuda 2"))
