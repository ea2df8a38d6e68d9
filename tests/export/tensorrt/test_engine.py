"""What is refused before anything is built, what an engine's papers say, and what the cache gives back."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from devices.detect import detect
from devices.jetson import read_jetson
from edgestill.errors import DeviceError, UsageError, VerificationError
from export.tensorrt import engine as engines
from export.tensorrt.engine import engine_folder, find_build_target, make_engine
from export.tensorrt.options import EngineOptions
from runtime.tensorrt.engine_identity import EnginePlatform

V100 = {"name": "Tesla V100-SXM2-16GB", "capability": (7, 0), "sms": 80}
NANO = {"name": "NVIDIA Tegra X1", "capability": (5, 3), "sms": 1}
ORIN = {"name": "Orin", "capability": (8, 7), "sms": 8}
PLAIN = EngineOptions()
OnGpu = Callable[..., Any]


@pytest.fixture
def graph(graphs: dict[str, bytes], tmp_path: Path) -> Path:
    path = tmp_path / "m.onnx"
    path.write_bytes(graphs["fp16"])
    return path


@pytest.fixture
def on_orin(on_gpu: OnGpu, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> OnGpu:
    """As ``on_gpu``, on a Jetson Orin with the key of a profile."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "nv_tegra_release").write_text(
        "# R36 (release), REVISION: 4.3, GCID: 1, BOARD: generic"
    )

    def believe(version: str, key: str, **options: Any) -> None:
        on_gpu(version, cuda=ORIN, **options)
        here = detect()
        jetson = read_jetson(tmp_path)
        monkeypatch.setattr(engines, "detect", lambda: replace(here, key=key, jetson=jetson))

    return believe


@pytest.mark.parametrize("version", ["10.16.1", "11.4.0"])
def test_a_v100_is_refused_by_what_has_left_it_behind(version: str, on_gpu: OnGpu) -> None:
    on_gpu(version, cuda=V100)
    with pytest.raises(DeviceError, match=r"no kernels for Tesla V100.*10\.4 is the last") as caught:
        find_build_target("tensorrt", "fp16", PLAIN)
    assert "pip install 'tensorrt-cu12==10.4.*'" in caught.value.hint


def test_a_v100_builds_int8_with_a_doubt(on_gpu: OnGpu) -> None:
    on_gpu("10.4.0", cuda=V100)
    (doubt,) = find_build_target("tensorrt", "int8", PLAIN).doubts
    assert "no INT8 tensor cores" in doubt
    assert find_build_target("tensorrt", "fp16", PLAIN).doubts == ()


def test_a_nano_is_sent_to_its_own_tool(on_gpu: OnGpu) -> None:
    on_gpu("8.2.1", cuda=NANO)
    with pytest.raises(DeviceError, match=r"TensorRT 8\.2\.1 has no named tensors") as caught:
        find_build_target("tensorrt", "fp16", PLAIN)
    assert "trtexec --onnx=FILE.onnx --fp16 --workspace=1024" in caught.value.hint
    assert "edgestill export CKPT --to onnx --precision fp32 --opset 13" in caught.value.hint


@pytest.mark.parametrize(
    ("cuda", "hint"),
    [
        (NANO, "edgestill export CKPT --to onnx --precision fp32 --opset 13, then on the device"),
        ({"name": "Xavier", "capability": (7, 2)}, "--precision fp32, then on the device"),
        ({"name": "Tesla P100", "capability": (6, 0)}, r"^use TensorRT 8\.6$"),
    ],
)
def test_a_gpu_that_this_version_left_behind_is_told_its_own(
    cuda: dict[str, Any], hint: str, on_gpu: OnGpu
) -> None:
    on_gpu("10.3.0", cuda=cuda)
    with pytest.raises(DeviceError, match="is the last version that has") as caught:
        find_build_target("tensorrt", "fp32", PLAIN)
    assert re.search(hint, caught.value.hint)


@pytest.mark.parametrize(
    ("version", "key", "said"),
    [
        ("10.3.0", "jetson-orin-nx", None),
        ("10.7.0", "jetson-agx-orin", None),
        ("10.16.1", "jetson-agx-orin", "has no DLA: it ended with 10.7"),
        ("11.4.0", "jetson-agx-orin", "has no DLA: it ended with 10.7"),
        ("11.4.1", "jetson-agx-orin-32gb", None),
        ("11.4.1", "jetson-orin-nx", "on an AGX Orin only; this is jetson-orin-nx"),
    ],
)
def test_a_dla_is_used_by_versions_that_have_one(
    version: str, key: str, said: str | None, on_orin: OnGpu
) -> None:
    on_orin(version, key, dla_cores=2)
    options = EngineOptions(dla_core=0)
    if said is None:
        assert find_build_target("tensorrt", "fp16", options).home.version == version
        return
    with pytest.raises(DeviceError, match=said):
        find_build_target("tensorrt", "fp16", options)


def test_engines_for_other_gpus_are_refused_on_a_jetson(on_orin: OnGpu) -> None:
    on_orin("10.3.0", "jetson-orin-nx")
    with pytest.raises(DeviceError, match="no --hardware ampere-plus on a Jetson"):
        find_build_target("tensorrt", "fp16", EngineOptions(hardware="ampere-plus"))


def test_int8_is_refused_where_there_is_no_such_arithmetic(on_gpu: OnGpu) -> None:
    on_gpu("8.5.2", cuda={"name": "Tesla P100", "capability": (6, 0)})
    with pytest.raises(DeviceError, match="does not support INT8"):
        find_build_target("tensorrt", "int8", PLAIN)


def test_without_a_driver_the_way_out_is_told(on_gpu: OnGpu, monkeypatch: pytest.MonkeyPatch) -> None:
    on_gpu("10.3.0")

    def absent(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr("ctypes.CDLL", absent)
    with pytest.raises(
        DeviceError, match=r"on the GPU that will run the engine; .*no NVIDIA driver"
    ) as caught:
        find_build_target("tensorrt", "fp16", PLAIN)
    assert "--to tensorrt-rtx" in caught.value.hint
    assert caught.value.exit_code == 5


@pytest.mark.parametrize(
    ("family", "precision", "options", "said"),
    [
        ("tensorrt", "fp32", EngineOptions(dla_core=0), "a DLA runs FP16 here"),
        ("tensorrt", "int8", EngineOptions(dla_core=0), "runs no Q/DQ pairs on it"),
        ("tensorrt", "fp16", EngineOptions(capabilities=("8.6",)), "the GPU of this machine"),
        ("tensorrt-rtx", "fp16", EngineOptions(dla_core=0), "has no DLA"),
        ("tensorrt-rtx", "fp16", EngineOptions(device=1), "builds without a GPU"),
        ("tensorrt-rtx", "fp16", EngineOptions(version_compatible=True), "--compute-capability"),
        (
            "tensorrt-rtx",
            "fp16",
            EngineOptions(capabilities=("8.7", "8.6")),
            r"not build for compute capability 8\.7",
        ),
        ("tensorrt-rtx", "fp16", EngineOptions(capabilities=("7.5", "8.6")), r"7\.5 cannot be for others"),
    ],
)
def test_options_that_do_not_go_together(
    family: Any, precision: Any, options: EngineOptions, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        find_build_target(family, precision, options)


@pytest.mark.parametrize("field", ["workspace_mib", "memory_mib", "dla_core"])
def test_an_option_without_sense_is_refused(field: str) -> None:
    with pytest.raises(UsageError):
        EngineOptions(**{field: -1})


def test_the_home_is_all_that_an_engine_depends_on(on_gpu: OnGpu) -> None:
    on_gpu("10.3.0", cuda=ORIN)
    home = find_build_target("tensorrt", "fp16", PLAIN).home
    assert (home.gpu, home.compute_capability, home.sms, home.version) == ("Orin", "8.7", 8, "10.3.0")
    assert home.system.startswith(("driver ", "L4T "))


def test_an_engine_is_proved_by_its_inspector(graph: Path, tmp_path: Path, on_gpu: OnGpu) -> None:
    on_gpu("10.3.0")
    made = make_engine(
        find_build_target("tensorrt", "fp16", PLAIN), graph, "fp16", PLAIN, tmp_path / "m.trt.engine"
    )
    assert made.proved == {"executed": {"float16": 60}}
    assert made.unproved == {}
    assert made.runs_here
    assert not made.from_cache
    assert made.built_on["gpu"] == "NVIDIA L4"
    assert made.built_on["strongly_typed"] is True


@pytest.mark.default_cases("10.3.0")
@pytest.mark.parametrize("version", ["8.6.1", "10.3.0", "11.4.0"])
def test_a_builder_that_silently_builds_fp32_is_found_out(
    version: str, graph: Path, tmp_path: Path, on_gpu: OnGpu
) -> None:
    on_gpu(version, obeys=False)
    place = find_build_target("tensorrt", "fp16", PLAIN)
    with pytest.raises(VerificationError, match="0 of 60 convolutions are executed in float16") as caught:
        make_engine(place, graph, "fp16", PLAIN, tmp_path / "m.trt.engine")
    assert caught.value.exit_code == 6


def test_the_same_request_is_answered_from_the_cache(
    graph: Path, tmp_path: Path, on_gpu: OnGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_gpu("10.3.0")
    place = find_build_target("tensorrt", "fp16", PLAIN)
    first = make_engine(place, graph, "fp16", PLAIN, tmp_path / "a.trt.engine")
    assert [path.name[:7] for path in engine_folder().glob("*.cache")] == ["timing-"]
    monkeypatch.setattr(engines, "build_in_child", None)  # nothing is built any more
    again = make_engine(place, graph, "fp16", EngineOptions(memory_mib=9999), tmp_path / "b.trt.engine")
    assert again.from_cache
    assert again.path.read_bytes() == first.path.read_bytes()
    assert again.proved == first.proved


def test_an_engine_is_built_on_the_gpu_that_is_asked_for(graph: Path, tmp_path: Path, on_gpu: OnGpu) -> None:
    on_gpu("10.3.0", cuda={"count": 2})
    options = EngineOptions(device=1)
    made = make_engine(
        find_build_target("tensorrt", "fp16", options), graph, "fp16", options, tmp_path / "m.trt.engine"
    )
    assert json.loads(made.path.read_bytes())["device"] == 1
    # Another GPU of the same kind can run it too.
    place = find_build_target("tensorrt", "fp16", PLAIN)
    assert make_engine(place, graph, "fp16", PLAIN, tmp_path / "0.trt.engine").from_cache


def test_a_gpu_that_is_not_there_builds_nothing(on_gpu: OnGpu) -> None:
    on_gpu("10.3.0", cuda={"count": 2})
    with pytest.raises(DeviceError, match="no CUDA device 2; 2 are visible") as caught:
        find_build_target("tensorrt", "fp16", EngineOptions(device=2))
    assert "cuda:0 to cuda:1" in caught.value.hint


@pytest.mark.slow
def test_a_damaged_engine_of_the_cache_does_not_count(graph: Path, tmp_path: Path, on_gpu: OnGpu) -> None:
    on_gpu("10.3.0")
    place = find_build_target("tensorrt", "fp16", PLAIN)
    make_engine(place, graph, "fp16", PLAIN, tmp_path / "a.trt.engine")
    (kept,) = engine_folder().glob("*.engine")
    kept.write_bytes(b"x")
    assert not make_engine(place, graph, "fp16", PLAIN, tmp_path / "b.trt.engine").from_cache
    kept.with_suffix(".json").write_text("[" * 60_000)
    assert not make_engine(place, graph, "fp16", PLAIN, tmp_path / "c.trt.engine").from_cache


def test_every_part_of_the_key_makes_another_engine() -> None:
    home = {"gpu": "a", "compute_capability": "8.6", "system": "driver 1", "version": "10.3.0"}
    plain = {"home": home, "precision": "fp16", "onnx_sha256": "0", "options": PLAIN.to_json()}
    changed = [
        *({**plain, "home": {**home, name: "other"}} for name in home),
        {**plain, "precision": "int8"},
        {**plain, "onnx_sha256": "1"},
        {**plain, "options": EngineOptions(workspace_mib=5).to_json()},
    ]
    keys = {engines._key(depends) for depends in [plain, *changed]}
    assert len(keys) == 1 + len(changed)


def test_layers_that_fell_back_are_in_the_papers(graph: Path, tmp_path: Path, on_gpu: OnGpu) -> None:
    on_gpu("10.3.0", dla_cores=1)
    options = EngineOptions(dla_core=0)
    made = make_engine(
        find_build_target("tensorrt", "fp16", options), graph, "fp16", options, tmp_path / "m.trt.engine"
    )
    assert "model.0.act.sigmoid" in made.fallbacks
    assert made.built_on["dla_fallbacks"] == list(made.fallbacks)


def test_options_survive_json() -> None:
    options = EngineOptions(capabilities=("8.6", "8.9"), hardware="ampere-plus")
    assert EngineOptions.from_json(json.loads(json.dumps(options.to_json()))) == options


def test_a_home_has_no_field_that_the_key_forgets() -> None:
    fields = {"family", "version", "gpu", "compute_capability", "sms", "system"}
    assert set(EnginePlatform.__slots__) == fields
