"""What OpenVINO does besides: its own files, its precisions."""

from pathlib import Path

import numpy as np
import openvino as ov
import pytest

from edgestill.errors import ArtifactError, DeviceError
from edgestill.spec import SPEC_KEY
from runtime.backend import open_backend
from runtime.backends.ov import PRECISION_KEY, OvBackend

HAS_BF16 = "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
needs_bf16 = pytest.mark.skipif(not HAS_BF16, reason="this CPU has no bf16")


@pytest.fixture(params=[False, True], ids=["fp32-weights", "fp16-weights"])
def xml(request: pytest.FixtureRequest, lamp_model: Path, tmp_path: Path) -> Path:
    """The lamp model as OpenVINO's own pair of files."""
    ov.save_model(ov.Core().read_model(lamp_model), tmp_path / "lamps.xml", compress_to_fp16=request.param)
    return tmp_path / "lamps.xml"


def with_wish(lamp_model: Path, folder: Path, *path: str) -> Path:
    """The lamp model, saved with a wish for bf16 under some name in its rt_info."""
    model = ov.Core().read_model(lamp_model)
    model.set_rt_info("bf16", list(path))
    ov.save_model(model, folder / "wish.xml")
    return folder / "wish.xml"


def test_its_own_files_run_and_carry_the_spec(xml: Path, lamp_model: Path) -> None:
    feed = {"images": np.full((1, 3, 64, 96), 0.25, np.float32)}
    reference = open_backend(lamp_model, "ort").infer(feed)["output0"]
    loaded = open_backend(xml)
    assert isinstance(loaded, OvBackend)
    np.testing.assert_allclose(loaded.infer(feed)["output0"], reference, atol=1e-3)
    assert SPEC_KEY in loaded.metadata


def test_float_files_run_in_float32_unless_asked(xml: Path) -> None:
    assert open_backend(xml).layers_by_dtype() == {"float32": 1}


@needs_bf16
def test_bf16_is_run_and_proved_when_asked_for(xml: Path) -> None:
    assert open_backend(xml, precision_hint="bf16").layers_by_dtype() == {"bfloat16": 1}


@needs_bf16
@pytest.mark.parametrize("path", [(PRECISION_KEY,), ("edgestill", "runtime_precision")])
def test_a_model_may_wish_for_bf16(lamp_model: Path, tmp_path: Path, path: tuple[str, ...]) -> None:
    assert open_backend(with_wish(lamp_model, tmp_path, *path)).layers_by_dtype() == {"bfloat16": 1}


@needs_bf16
def test_a_person_outranks_the_models_wish(lamp_model: Path, tmp_path: Path) -> None:
    wish = with_wish(lamp_model, tmp_path, PRECISION_KEY)
    assert open_backend(wish, precision_hint="f32").layers_by_dtype() == {"float32": 1}


def test_a_cpu_without_the_models_precision_says_that_it_computes_in_fp32(
    lamp_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class OldCpu(ov.Core):
        def get_property(self, device: str, name: str) -> list[str]:
            assert (device, name) == ("CPU", "OPTIMIZATION_CAPABILITIES")
            return ["FP32", "INT8", "BIN"]

    wish = with_wish(lamp_model, tmp_path, PRECISION_KEY)
    monkeypatch.setattr("runtime.backends.ov.ov.Core", OldCpu)
    assert open_backend(wish).layers_by_dtype() == {"float32": 1}
    assert f"{wish}: it is a bf16 file, and this CPU has no bf16" in capsys.readouterr().err
    open_backend(lamp_model, "ov")
    assert not capsys.readouterr().err


def test_a_wish_for_an_unknown_precision_is_ignored_in_silence(
    lamp_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ov.Core().read_model(lamp_model)
    model.set_rt_info("\x1b[2Jbf17", [PRECISION_KEY])
    ov.save_model(model, tmp_path / "odd.xml")
    assert open_backend(tmp_path / "odd.xml").layers_by_dtype() == {"float32": 1}
    assert not capsys.readouterr().err


def test_a_precision_that_the_device_lacks_is_refused(xml: Path) -> None:
    with pytest.raises(DeviceError, match="cannot run in f8"):
        open_backend(xml, precision_hint="f8")


def test_an_xml_without_its_weights_is_refused(xml: Path) -> None:
    xml.with_suffix(".bin").unlink()
    with pytest.raises(ArtifactError, match=r"lacks its weights lamps\.bin"):
        open_backend(xml)


def test_truncated_weights_are_refused(xml: Path) -> None:
    weights = xml.with_suffix(".bin")
    weights.write_bytes(weights.read_bytes()[:10])
    with pytest.raises(ArtifactError):
        open_backend(xml)


def test_an_xml_of_something_else_is_refused(xml: Path) -> None:
    xml.write_text("<page/>")
    with pytest.raises(ArtifactError, match="OpenVINO cannot read"):
        open_backend(xml)


@pytest.mark.parametrize("odd", [b"\xff\xfe", b"\xed\xa0\x80", b"\xc3"])
@pytest.mark.parametrize("place", [b'name="', b"edgestill", b"</net>"])
def test_bytes_that_are_not_utf8_are_refused(xml: Path, place: bytes, odd: bytes) -> None:
    """Also inside of names and metadata, which OpenVINO gives as strings when they are first used."""
    data = xml.read_bytes()
    at = data.index(place) + len(place)
    xml.write_bytes(data[:at] + odd + data[at:])
    with pytest.raises(ArtifactError, match="is not UTF-8"):
        open_backend(xml)


def test_a_file_whose_tensors_have_no_names_runs(lamp_model: Path, tmp_path: Path) -> None:
    model = ov.Core().read_model(lamp_model)
    for port in (*model.inputs, *model.outputs):
        port.get_tensor().set_names(set())
    ov.save_model(model, tmp_path / "nameless.xml")
    loaded = open_backend(tmp_path / "nameless.xml")
    assert [t.name for t in (*loaded.inputs, *loaded.outputs)] == ["input0", "output0"]
    assert loaded.infer({"input0": np.zeros((1, 3, 64, 96), np.float32)})["output0"].shape == (1, 6, 9)


def test_the_metadata_file_of_yolo_export_is_read(xml: Path) -> None:
    xml.with_name("metadata.yaml").write_text("task: detect\nimgsz: [64, 96]\nnames: {0: red}\n")
    metadata = open_backend(xml).metadata
    assert metadata["task"] == "detect"


def test_metadata_of_yolo_export_lies_beside_the_model(xml: Path) -> None:
    xml.with_name("metadata.yaml").write_text(
        "task: detect\nimgsz: &size\n- 64\n- 96\nargs:\n  imgsz: *size\n"
    )
    assert open_backend(xml).metadata["imgsz"] == "[64, 96]"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            "a0: &a0 [x]\n"
            + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10)),
            "has 81 YAML aliases",  # and would be 9 GB of text
            id="bomb",
        ),
        pytest.param("!!python/object/apply:os.abort []\n", "is not model metadata", id="code"),
        pytest.param("[" * 1000, "is not model metadata", id="deep"),
        pytest.param("- a list\n", "is not model metadata", id="list"),
    ],
)
def test_metadata_that_burst_or_bring_code_are_refused(xml: Path, text: str, message: str) -> None:
    xml.with_name("metadata.yaml").write_text(text)
    with pytest.raises(ArtifactError, match=message):
        open_backend(xml)


def test_memory_of_outputs_is_used_again_once_nobody_holds_them(xml: Path) -> None:
    loaded = open_backend(xml, "ov", threads=1)
    feed = {"images": np.zeros((1, 3, 64, 96), np.float32)}

    def address() -> int:
        return int(loaded.infer(feed)["output0"].ctypes.data)

    first = address()
    assert address() == first
    held = loaded.infer(feed)["output0"]
    assert address() != held.ctypes.data
    loaded.close()
