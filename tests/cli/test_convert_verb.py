"""``edgestill data convert`` through the door: stdout, stderr, exit codes."""

import io
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgestill.cli.data_convert import FORMATS
from edgestill.cli.main import main


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A VOC folder of six images, one of them broken, and one label of a class that no map knows."""
    root = tmp_path / "voc"
    root.mkdir()
    for i in range(6):
        cv2.imwrite(str(root / f"drive{i}_0.png"), np.full((32, 32, 3), 20 * i, np.uint8))
        name = "cow" if i == 5 else "Red"
        box = "<bndbox><xmin>5</xmin><ymin>5</ymin><xmax>12</xmax><ymax>20</ymax></bndbox>"
        xml = f"<annotation><object><name>{name}</name>{box}</object></annotation>"
        (root / f"drive{i}_0.xml").write_text(xml)
    (root / "drive2_0.png").write_bytes(b"\x89PNG nothing")
    return root


def test_the_formats_of_the_help_are_the_files_of_the_folder() -> None:
    from distill.datasets import convert

    assert sorted(FORMATS.split(",")) == list(convert.FORMATS.names())


def test_convert_prints_counts_and_what_it_left_out(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["data", "convert", "voc", str(source), "--out", str(tmp_path / "out"), "--classes", "state"]
    assert main([*words, "--sequence", "^(drive[0-9]+)_"]) == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert sum(result["images"].values()) == 5
    assert result["skipped_pictures"] == {"the image is broken": 1}
    assert result["skipped_objects"] == {"no class for name cow": 1}
    assert sum(boxes["red"] for boxes in result["boxes"].values()) == 4
    assert "convert: 6/6" in err
    assert main(["data", "check", result["data_yaml"]]) == 0


def test_the_same_command_again_does_not_overwrite(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["data", "convert", "voc", str(source), "--out", str(tmp_path / "out")]
    assert main(words) == 0
    assert main(words) == 2
    assert "exists already\n  hint: " in capsys.readouterr().err
    assert main([*words, "--force"]) == 0
    assert json.loads(capsys.readouterr().out)["pictures"] == {"kept": 5}


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["voc", "gone"], 3),
        (["dtld", "SRC"], 3),
        (["bstld", "SRC"], 3),
        (["lisa", "SRC"], 3),
        (["coco", "SRC"], 3),
        (["vco", "SRC"], 2),
        (["voc", "SRC", "--classes", "stat"], 2),
        (["voc", "SRC", "--classes", "relevance"], 2),
        (["voc", "SRC", "--bulbs"], 2),
        (["voc", "SRC", "--split", "city"], 2),
        (["voc", "SRC", "--split", "official"], 2),
        (["voc", "SRC", "--val-share", "0.9", "--test-share", "0.2"], 2),
        (["voc", "SRC", "--sequence", "("], 2),
        (["voc", "SRC", "--workers", "0"], 2),
    ],
)
def test_a_mistake_gets_two_lines_and_its_code(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int
) -> None:
    words = [str(source) if word == "SRC" else word for word in words]
    assert main(["data", "convert", *words, "--out", str(tmp_path / "out")]) == code
    out, err = capsys.readouterr()
    assert out == ""
    lines = [line for line in err.splitlines() if not line.startswith(("labels: ", "convert: "))]
    assert len(lines) == 2
    assert lines[0].startswith("edgestill data: ")
    assert lines[1].startswith("  hint: ")
    assert not (tmp_path / "out").exists()


def test_a_person_sees_a_table(source: Path, tmp_path: Path) -> None:
    from rich.console import Console

    from edgestill.cli.main import call
    from edgestill.cli.verbs import data

    result = call(
        ["data", "convert", "voc", str(source), "--out", str(tmp_path / "out"), "--classes", "state"]
    )
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(data.show(result))
    text = console.export_text()
    assert "skipped images: 1 x the image is broken" in text
    assert "skipped objects: 1 x no class for name cow" in text
    assert "yellow" in text


def test_converting_brings_no_training_library(source: Path, tmp_path: Path) -> None:
    words = ["data", "convert", "voc", str(source), "--out", str(tmp_path / "out")]
    code = (
        "import sys\nfrom edgestill.cli.main import main\n"
        f"assert main({words!r}) == 0\nassert 'torch' not in sys.modules, 'torch'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=tmp_path)


def test_an_object_that_cannot_be_read_leaves_its_image_out(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    many = "".join(
        f"<object><name>Red</name><bndbox><xmin>{i}</xmin><ymin>1</ymin><xmax>{i}</xmax><ymax>9</ymax></bndbox></object>"
        for i in range(1, 21)
    )
    (source / "drive0_0.xml").write_text(f"<annotation>{many}</annotation>")
    (source / "drive1_0.xml").write_text(
        (source / "drive1_0.xml").read_text().replace("<xmin>5</xmin>", "<xmin>5 px</xmin>")
    )
    assert main(["data", "convert", "voc", str(source), "--out", str(tmp_path / "out")]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["unreadable_objects"] == {"a coordinate is not a number": 1}
    assert result["skipped_pictures"]["an object in it could not be read"] == 1
    assert not list((tmp_path / "out").rglob("*drive1_0*"))


def test_too_many_objects_that_cannot_be_read_are_two_lines_and_exit_3(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (source / "drive1_0.xml").write_text(
        (source / "drive1_0.xml").read_text().replace("<ymax>20</ymax>", "<ymax/>")
    )
    assert main(["data", "convert", "voc", str(source), "--out", str(tmp_path / "out")]) == 3
    out, err = capsys.readouterr()
    assert out == ""
    what, hint = err.splitlines()[-2:]
    assert "1 of 6 objects could not be read, more than 5%: a coordinate is not a number (1)" in what
    assert "drive1_0.xml" in hint
    assert not (tmp_path / "out").exists()


def test_images_may_be_in_another_folder(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for path in source.glob("*.png"):
        path.rename(pictures / path.name)
    words = ["data", "convert", "voc", str(source), "--out", str(tmp_path / "out")]
    assert main(words) == 3
    err = capsys.readouterr().err
    assert "no image could be converted: the image is not there (6)" in err
    assert "--images DIR" in err
    assert main([*words, "--images", str(pictures)]) == 0
    assert sum(json.loads(capsys.readouterr().out)["images"].values()) == 5
    assert main([*words, "--images", str(tmp_path / "gone"), "--force"]) == 3
