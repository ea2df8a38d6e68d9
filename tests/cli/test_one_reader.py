"""All verbs that read data sets read them by the same rules."""

import ast
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgestill.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
#: Modules that decode images other than the files of a data set or of --source.
OTHERS = frozenset(
    {
        "benchmarks/measure/footage.py",  # JPEG in memory
        "distill/data/camera_effects.py",  # JPEG in memory
        "distill/datasets/checked_image.py",  # the alpha channel and the pages, after the reader
        "distill/datasets/formats/_files.py",  # raw 12 bits, which the converter scales
        "distill/datasets/synth/sensor.py",  # JPEG in memory
        "distill/data/image_size.py",  # the header alone
        "edgestill/dataset_files/decoder_messages.py",
    }
)
DECODERS = frozenset({"cv2.imread", "cv2.imdecode", "cv2.imreadmulti", "cv2.imdecodemulti", "Image.open"})


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two images with one red light each, as a data set of two classes."""
    for folder in ("images/train", "labels/train"):
        (tmp_path / folder).mkdir(parents=True)
    for seed, name in enumerate("ab"):
        image = np.random.default_rng(seed).integers(0, 255, (32, 32, 3), np.uint8)
        cv2.imwrite(str(tmp_path / f"images/train/{name}.jpg"), image)
        (tmp_path / f"labels/train/{name}.txt").write_text("0 0.5 0.5 0.25 0.5\n")
    path = tmp_path / "data.yaml"
    path.write_text("train: images/train\nval: images/train\nnames: [red, green]\n")
    return path


def damaged(folder: Path) -> str:
    path = folder / "images/train/b.jpg"
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + bytes(len(data) // 4) + data[len(data) * 3 // 4 :])
    return "b.jpg is damaged inside"


def twelve_bits(folder: Path) -> str:
    image = np.random.default_rng(7).integers(0, 4096, (32, 32, 3), np.uint16)
    cv2.imwrite(str(folder / "images/train/b.png"), image)
    return "b.png holds 12 bits in 16"


def without_area(folder: Path) -> str:
    (folder / "labels/train/b.txt").write_text("0 0.5 0.5 0.25 0.5\n1 0.5 0.5 0 0\n")
    return "b.txt:2 has a box without area"


def equal_names(folder: Path) -> str:
    text = (folder / "data.yaml").read_text().replace("green", "red")
    (folder / "data.yaml").write_text(text)
    return "names 2 classes 'red'"


@pytest.mark.parametrize("spoil", [damaged, twelve_bits, without_area, equal_names])
@pytest.mark.parametrize(
    "words",
    [
        ("eval", "MODEL", "--data", "DATA", "--split", "train"),
        ("verify", "MODEL", "MODEL", "--data", "DATA"),
        ("distill", "traffic-lights", "--data", "DATA", "--set", "methods={}", "--out", "OUT"),
        ("data", "check", "DATA"),
        ("data", "plots", "DATA", "--out", "OUT"),
    ],
    ids=lambda words: " ".join(word for word in words[:2] if word.islower()),
)
def test_every_verb_refuses_it(
    words: tuple[str, ...],
    spoil: Callable[[Path], str],
    data: Path,
    tiny_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    what = spoil(data.parent)
    places = {"MODEL": tiny_model, "DATA": data, "OUT": tmp_path / "out"}
    assert main([str(places.get(word, word)) for word in words]) == 3
    out, err = capsys.readouterr()
    assert what in out + err
    assert err.splitlines()[-1].startswith("  hint: ")


def test_equal_rows_are_left_out_and_said(
    data: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    label = data.parent / "labels/train/b.txt"
    label.write_text(label.read_text() * 3)
    assert main(["eval", str(tiny_model), "--data", str(data), "--split", "train", "--json"]) == 0
    out, err = capsys.readouterr()
    assert '"labels": 2' in out
    assert f"2 label rows left out, because an equal one is in the same file: in 1 file, first {label}" in err


def test_hidden_copies_are_no_part_of_an_evaluation(
    data: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in (".ipynb_checkpoints/a-checkpoint.jpg", "._a.jpg"):
        path = data.parent / "images/train" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"macOS keeps notes here")
    assert main(["eval", str(tiny_model), "--data", str(data), "--split", "train", "--json"]) == 0
    assert '"images": 2' in capsys.readouterr().out


def decoding_modules() -> set[str]:
    """Modules that decode images on their own."""
    found = set()
    for top in ("edgestill", "runtime", "export", "distill", "benchmarks", "devices"):
        for path in (ROOT / top).rglob("*.py"):
            text = path.read_text("utf-8")
            if not any(name in text for name in DECODERS):  # parsing all takes a second
                continue
            calls = (n.func for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Call))
            if {ast.unparse(func) for func in calls} & DECODERS:
                found.add(str(path.relative_to(ROOT)))
    return found


def test_no_other_module_decodes_the_images_of_a_data_set() -> None:
    assert decoding_modules() == OTHERS
