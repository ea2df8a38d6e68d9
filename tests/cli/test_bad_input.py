"""Bad input gets two lines and its exit code, and nothing is written."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgestill.cli.main import main


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """One image with one red light, as a data set of two classes."""
    for folder in ("images/train", "labels/train"):
        (tmp_path / folder).mkdir(parents=True)
    image = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "images/train/a.jpg"), image)
    (tmp_path / "labels/train/a.txt").write_text("0 0.5 0.5 0.25 0.5\n")
    path = tmp_path / "data.yaml"
    path.write_text("path: .\ntrain: images/train\nval: images/train\nnames: [red, green]\n")
    return path


def refused(words: list[object], code: int, capsys: pytest.CaptureFixture[str]) -> str:
    """The error of a command that must end with ``code``, after checking its form."""
    assert main([str(word) for word in words]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    lines = err.splitlines()[-2:]  # progress may stand before
    assert lines[0].startswith(f"edgestill {words[0]}: ")
    assert lines[1].startswith("  hint: ")
    assert len(lines[1]) > len("  hint: ")
    return lines[0]


def test_a_missing_model(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "gone.onnx does not exist" in refused(["eval", "gone.onnx", "--data", data], 4, capsys)


def test_a_missing_data_set(tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "gone.yaml does not exist" in refused(["eval", tiny_model, "--data", "gone.yaml"], 3, capsys)


def test_a_missing_source(tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "gone.png" in refused(["run", tiny_model, "--source", "gone.png"], 3, capsys)


def test_a_truncated_image(tiny_model: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = data.parent / "images/train/a.jpg"
    image.write_bytes(image.read_bytes()[:-200])
    assert "a.jpg is truncated" in refused(["eval", tiny_model, "--data", data], 3, capsys)
    assert "a.jpg is truncated" in refused(["run", tiny_model, "--source", image], 3, capsys)


def test_a_label_with_six_columns(tiny_model: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data.parent / "labels/train/a.txt").write_text("0 0.5 0.5 0.25 0.5 0.9\n")
    assert "a.txt:1 has 6 columns, expected 5" in refused(["eval", tiny_model, "--data", data], 3, capsys)
    out = data.parent / "run"
    words = ["distill", "traffic-lights", "--data", data, "--set", "methods={}", "--out", out]
    assert "a.txt:1 has 6 columns, expected 5" in refused(words, 3, capsys)
    assert not (out / "last").exists()


def test_an_onnx_that_is_not_ours(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onnx = pytest.importorskip("onnx")
    make, kind = onnx.helper, onnx.TensorProto.FLOAT
    ends = [make.make_tensor_value_info(name, kind, [1, 3, 8, 8]) for name in ("x", "y")]
    graph = make.make_graph([make.make_node("Relu", ["x"], ["y"])], "relu", ends[:1], ends[1:])
    path = tmp_path / "relu.onnx"
    onnx.save(make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8), path)
    what = refused(["eval", path, "--data", data], 4, capsys)
    assert "neither an edgestill spec nor the class names of a detector" in what


@pytest.mark.parametrize(
    "words",
    [
        ("data", "synth", "--images", "3", "--out"),
        ("demo", "--out"),
        ("data", "clip", "--seconds", "1", "--out"),
    ],
    ids=["synth", "demo", "clip"],
)
def test_an_output_below_a_file(
    words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("mine")
    assert str(file) in refused([*words, file / "out.mp4"], 2, capsys)
    assert file.read_text() == "mine"


def test_a_file_that_is_no_onnx_at_all(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "text.onnx"
    path.write_text("this is not a model")
    refused(["eval", path, "--data", data], 4, capsys)


def test_a_wrong_class_count(tiny_model: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data.write_text(data.read_text().replace("[red, green]", "[red, green, blue]"))
    what = refused(["eval", tiny_model, "--data", data], 3, capsys)
    assert "the model has 2 classes" in what
    assert "has 3" in what


def test_a_class_count_that_contradicts_the_names(
    tiny_model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data.write_text(data.read_text() + "nc: 4\n")
    assert "says nc: 4 and names 2 classes" in refused(["eval", tiny_model, "--data", data], 3, capsys)


def test_an_unknown_flag(tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused(["run", tiny_model, "--source", "x.png", "--tack"], 2, capsys)


def test_an_unknown_backend(tiny_model: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    what = refused(["eval", tiny_model, "--data", data, "--backend", "coreml"], 2, capsys)
    assert "no backend is called 'coreml'" in what


def test_a_split_that_is_not_there(tiny_model: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused(["eval", tiny_model, "--data", data, "--split", "test"], 2, capsys)


def test_a_demo_is_not_written_over_something_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.txt").write_text("ten years of work")
    assert "was not written by a demo" in refused(["demo", "--out", tmp_path, "--force"], 2, capsys)
    assert (tmp_path / "thesis.txt").exists()


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("{0: red, one: green}", "mixes numbers and text in the class ids of names: 0, 'one'"),
        ("{1.5: red, null: green}", "mixes numbers and text in the class ids of names: 1.5, None"),
        ("{0: red, 2020-01-01: green}", "mixes numbers and text in the class ids of names"),
        (r'[red, "\ud800"]', "a class name that is no text"),
        ("[" * 3000 + "]" * 3000, "is not readable YAML"),
        ("[red, 2020-99-99]", "is not readable YAML"),
    ],
)
def test_class_names_of_odd_types(
    names: str, said: str, tiny_model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data.write_text(data.read_text().replace("[red, green]", names))
    assert said in refused(["eval", tiny_model, "--data", data], 3, capsys)


@pytest.mark.parametrize("name", ["n" * 251, "n" * 300, "a/" * 3000 + "x"])
def test_names_that_are_too_long(
    name: str, tiny_model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(["eval", tiny_model, "--data", f"{name}.yaml"], 3, capsys)
    refused(["inspect", f"{name}.onnx"], 4 if len(name) < 255 - 5 else 2, capsys)
    data.write_text(data.read_text().replace("val: images/train", f"val: {name}"))
    assert main(["eval", str(tiny_model), "--data", str(data)]) in {2, 3}
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("folder", ["/proc/none/x", "/proc/1/fdinfo/x", "/dev/null/x", "/sys/x/y"])
def test_output_folders_of_the_kernel(
    folder: str, tiny_model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(["data", "plots", data, "--out", folder], 2, capsys)
    refused(["data", "synth", "--images", "1", "--workers", "1", "--out", folder], 2, capsys)
    refused(["run", tiny_model, "--source", data.parent / "images/train", "--save", folder], 2, capsys)


@pytest.mark.parametrize("kind", ["fifo", "device"])
def test_a_pipe_or_a_device_in_the_place_of_a_file_does_not_hang(
    kind: str, tiny_model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = tmp_path / "odd.yaml"
    os.mkfifo(odd) if kind == "fifo" else odd.symlink_to("/dev/zero")
    assert "a named pipe or a device" in refused(["eval", tiny_model, "--data", odd], 3, capsys)
    assert "a named pipe or a device" in refused(["compare", odd, odd], 3, capsys)
    recipe = odd.rename(tmp_path / "odd.toml")
    assert "a named pipe or a device" in refused(["distill", recipe, "--data", data], 2, capsys)


def test_the_shells_pipe_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    """As in ``compare <(...) b.json``: what it holds is the matter, not that it is a pipe."""
    read, write = os.pipe()
    os.write(write, b"[1")
    os.close(write)
    assert "is not readable JSON" in refused(["compare", f"/dev/fd/{read}", "x.json"], 3, capsys)


@pytest.mark.parametrize(
    "words",
    [
        ("run", "MODEL", "--source", "DATA", "--threads", "9" * 30),
        ("eval", "MODEL", "--data", "DATA", "--limit", str(1 << 31)),
        ("bench", "MODEL", "--min-samples", "9" * 30),
        ("data", "synth", "--images", str(10**9), "--out", "new"),
        ("data", "synth", "--images", "1", "--size", "99999x99999", "--out", "new"),
        ("data", "synth", "--images", "1", "--splits", "nan,0,1", "--out", "new"),
        ("data", "clip", "--size", "65536x64", "--out", "new.mp4"),
    ],
)
def test_numbers_that_nothing_takes(
    words: tuple[str, ...], tiny_model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused([{"MODEL": tiny_model, "DATA": data}.get(word, word) for word in words], 2, capsys)


def test_a_camera_number_of_many_digits(tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused(["run", tiny_model, "--source", "9" * 5000], 5, capsys)


def test_too_little_memory_is_a_device_error(
    tiny_model: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError("Unable to allocate 28 GiB")

    monkeypatch.setattr("edgestill.cli.verbs.eval.run", fail)
    what = refused(["eval", tiny_model, "--data", data], 5, capsys)
    assert "too little memory for that: Unable to allocate 28 GiB" in what


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (
            ImportError("libGL.so.1: cannot open shared object file"),
            "a shared library cannot be loaded: libGL",
        ),
        (ModuleNotFoundError("No module named 'cv2'", name="cv2"), "this needs 'cv2'"),
        (ModuleNotFoundError("No module named 'yaml'", name="yaml"), "this needs 'yaml'"),
        (ImportError("numpy.core.multiarray failed to import"), "was built for NumPy 1"),
        (ModuleNotFoundError("No module named 'av'", name="av"), "this needs 'av'"),
    ],
)
def test_a_library_that_does_not_load_is_a_device_error(
    raised: Exception,
    said: str,
    tiny_model: Path,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object) -> None:
        raise raised

    monkeypatch.setattr("edgestill.cli.verbs.eval.run", fail)
    assert said in refused(["eval", tiny_model, "--data", data], 5, capsys)
