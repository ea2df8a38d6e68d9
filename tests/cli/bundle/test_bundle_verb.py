"""``edgestill bundle``, and what ``run.sh verify`` and ``build`` start."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgestill.cli import bundled_models
from edgestill.cli.main import call, main
from edgestill.errors import UsageError
from export.bundle.reading import unpack_bundle
from tests.export.bundle.conftest import fill


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for n in range(3):
        cv2.imwrite(str(folder / f"{n}.png"), np.full((40, 60, 3), 80 * n, np.uint8))
    return folder


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill(tmp_path_factory.mktemp("wheels"), "x86_64", ["3.11"])


@pytest.fixture(scope="module")
def words(tiny_model: Path, pictures: Path, wheels: Path) -> list[str]:
    """The command without ``--out``."""
    options = ["--for", "generic-x86", "--python", "3.11"]
    return ["bundle", str(tiny_model), *options, "--wheels", str(wheels), "--images", str(pictures)]


@pytest.fixture(scope="module")
def made(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    pytest.importorskip("zstandard")
    result: dict[str, Any] = call([*words, "--out", str(tmp_path_factory.mktemp("made") / "tiny.tar.zst")])
    return result


@pytest.fixture
def folder(made: dict[str, Any], tmp_path: Path) -> Path:
    unpack_bundle(Path(made["files"][0]), tmp_path / "tiny")
    return tmp_path / "tiny"


def test_the_result_says_what_was_written(made: dict[str, Any]) -> None:
    assert made["kind"] == "bundle"
    assert Path(made["files"][0]).stat().st_size == made["bytes"]
    assert (made["device"], made["machine"], made["signed"]) == ("generic-x86", "x86_64", False)
    assert list(made["wheels"]) == ["3.11"]
    assert made["models"][0]["name"] == "tiny"
    assert made["models"][0]["detections"] == 3
    # The wheel of these tests has no code of edgestill.
    assert ["has another edgestill.py than the edgestill that runs" in doubt for doubt in made["doubts"]] == [
        True
    ]


def test_check_reads_it_back(made: dict[str, Any]) -> None:
    found = call(["bundle", "--check", made["files"][0]])
    same = ("content_sha256", "bytes", "device", "wheels", "models", "edgestill")
    assert {name: found[name] for name in same} == {name: made[name] for name in same}
    assert found["kind"] == "bundle-check"


def test_an_altered_file_ends_with_code_4(
    made: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = bytearray(Path(made["files"][0]).read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "x.tar.zst").write_bytes(data)
    assert main(["bundle", "--check", str(tmp_path / "x.tar.zst")]) == 4
    assert "hint: copy the file again" in capsys.readouterr().err


def test_without_a_folder_of_wheels_the_hint_is_the_command(tiny_model: Path) -> None:
    with pytest.raises(UsageError, match="nothing is downloaded") as caught:
        call(["bundle", str(tiny_model), "--out", "x.tar", "--for", "jetson-orin-nano"])
    assert caught.value.hint.startswith("pip wheel --no-deps -w wheels ")
    assert "pip download -d wheels --only-binary=:all: --python-version 3.10" in caught.value.hint


@pytest.mark.parametrize(
    "given",
    [
        [],
        ["x.onnx"],
        ["--out", "x.tar"],
        ["x.onnx", "--out", "x.tar", "--signers", "s", "--signer", "me"],
        ["--check", "x.tar", "--signers", "s"],
        ["--check", "x.tar", "--signer", "me"],
        ["--check", "x.tar", "--out", "y.tar"],
        ["x.onnx", "--out", "x.tar", "--for", "toaster"],
        ["x.onnx", "--out", "x.tar", "--python", "2.7"],
    ],
)
def test_commands_that_contradict_themselves_are_usage_errors(given: list[str]) -> None:
    assert main(["bundle", *given]) == 2


def test_a_folder_without_images_is_a_data_error(words: list[str], tmp_path: Path) -> None:
    assert main([*words[:-1], str(tmp_path), "--out", str(tmp_path / "x.tar")]) == 3


def test_a_table_says_what_to_type_on_the_device(made: dict[str, Any]) -> None:
    from rich.console import Console

    from edgestill.cli.verbs.bundle import show

    console = Console(width=120, record=True, file=io.StringIO())
    console.print(show(made))
    text = console.export_text()
    assert "mkdir tiny && tar --zstd -xf tiny.tar.zst -C tiny" in text
    assert "sh tiny/run.sh install && sh tiny/run.sh verify" in text


# --- on the device


def test_verify_gives_parity(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bundled_models.main(["verify", str(folder)]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["kind"] == "bundle-verify"
    assert [(one["name"], one["matched"], one["failures"]) for one in result["models"]] == [("tiny", 3, [])]


def test_another_model_in_its_place_fails_with_code_6(
    folder: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import onnx

    model = onnx.load(tiny_model)
    rows = next(one for one in model.graph.initializer if one.name == "rows")
    values = onnx.numpy_helper.to_array(rows).copy()
    values[0, 0, 0] += 1
    rows.CopyFrom(onnx.numpy_helper.from_array(values, "rows"))
    onnx.save(model, folder / "models" / "tiny" / "tiny.onnx")
    assert bundled_models.main(["verify", str(folder), "tiny"]) == 6
    out, err = capsys.readouterr()
    assert json.loads(out)["models"][0]["worst_box_px"] == pytest.approx(1)
    assert err.startswith("run.sh verify: ")
    assert "a box differs by 1.00 px, the limit is 0.2" in err


def test_wrong_names_and_folders_are_two_lines(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bundled_models.main(["verify", str(folder), "tini"]) == 2
    assert "did you mean 'tiny'?" in capsys.readouterr().err
    assert bundled_models.main(["verify", str(tmp_path)]) == 3
    assert "hint: name the folder of an unpacked bundle" in capsys.readouterr().err


def test_build_without_tensorrt_ends_with_code_5(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnx")
    assert bundled_models.main(["build", str(folder)]) == 5
    assert capsys.readouterr().err.startswith("run.sh build: ")


def test_build_makes_an_engine_that_verify_finds(
    folder: Path, on_gpu: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    on_gpu("10.3.0")
    assert bundled_models.main(["build", str(folder)]) == 0
    built = json.loads(capsys.readouterr().out)["models"][0]
    assert (built["backend"], built["matched"], built["failures"]) == ("trt", 3, [])
    assert built["precision_proved"]["executed"] == {"float32": 1}
    manifest = json.loads((folder / "installed/engines/tiny.trt.engine.manifest.json").read_text())
    assert manifest["verify"]["parity"]["expected"] == 3
    assert bundled_models.main(["verify", str(folder)]) == 0
    assert [one["backend"] for one in json.loads(capsys.readouterr().out)["models"]] == ["ort", "trt"]
    layers = call(["inspect", built["file"], "--layers"])["layers"]
    assert [layer["dtype"] for layer in layers if layer["arithmetic"]] == ["float32"]


def test_only_an_engine_has_a_list_of_layers(tiny_model: Path) -> None:
    with pytest.raises(UsageError, match=r"tiny\.onnx is none"):
        call(["inspect", str(tiny_model), "--layers"])


def test_build_refuses_an_engine_with_other_outputs(
    folder: Path, on_gpu: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "models" / "tiny" / "parity.npz"
    with np.load(path) as arrays:
        stored = dict(arrays)
    stored["expected_0"][0, 0, 0] += 1
    np.savez(path, **stored)
    on_gpu("10.3.0")
    assert bundled_models.main(["build", str(folder)]) == 6
    assert "tiny.trt.engine was not published: a box differs by 1.00 px" in capsys.readouterr().err
    assert not list((folder / "installed").rglob("*.engine"))
