"""No absolute path is left in a report, and different paths stay different."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.report.blocks import Commands, Details, Plot, Prose, Section, Table
from benchmarks.report.portable import PathLabels, portable, texts_in

HERE = Path("/home/ann/work")


def labelled(*texts: str) -> list[str]:
    labels = PathLabels(texts, HERE)
    return [labels(text) for text in texts]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/home/ann/work/runs/a/best.onnx", "runs/a/best.onnx"),
        ("/data/big/street/data.yaml", "street/data.yaml"),
        ("/data/My Models/v 2/best.onnx", "v 2/best.onnx"),
        ("~/models/a.onnx", "models/a.onnx"),
        ("/model.onnx", "model.onnx"),
        ("mAP50-95 on test of /data/street/data.yaml.", "mAP50-95 on test of street/data.yaml."),
        ("edgestill bench /a/b/x.onnx --source /c/d/e", "edgestill bench b/x.onnx --source d/e"),
        ("edgestill bench '/a/My b/x.onnx' -v", "edgestill bench 'My b/x.onnx' -v"),
        ("opened file:///home/bob/x.mp4 once", "opened bob/x.mp4 once"),
        (r"C:\Users\ann\models\a.onnx is there", "models/a.onnx is there"),
        ("/a/b/x.onnx: it is broken", "b/x.onnx: it is broken"),
        ("no counters in /sys/class/powercap, as usual", "no counters in /sys/class/powercap, as usual"),
        ("/dev/video0", "/dev/video0"),
        ("red/green swaps, 3 frames/s, n/a", "red/green swaps, 3 frames/s, n/a"),
        (
            "rtsp://camera/live/1 and https://example.com/a/b",
            "rtsp://camera/live/1 and https://example.com/a/b",
        ),
        ("runs/a/best.onnx", "runs/a/best.onnx"),
        ("<g></g></svg>", "<g></g></svg>"),
        ("/", "/"),
        ("", ""),
    ],
)
def test_texts_lose_the_folders_of_the_writer(text: str, expected: str) -> None:
    assert labelled(text) == [expected]


def test_paths_that_end_alike_keep_as_many_parts_as_tell_them_apart() -> None:
    found = labelled("/x/one/runs/best/a.onnx", "see /x/two/runs/best/a.onnx", "/x/one/runs/best/a.onnx")
    assert found == ["one/runs/best/a.onnx", "see two/runs/best/a.onnx", "one/runs/best/a.onnx"]


PART = st.text("abcäé-_.0", min_size=1, max_size=6).filter(lambda part: part not in {".", ".."})
PATHS = st.lists(st.lists(PART, min_size=3, max_size=6), min_size=1, max_size=6, unique_by=tuple)


@settings(deadline=None, max_examples=100)
@given(PATHS)
def test_any_paths_stay_apart_and_none_is_absolute(parts: list[list[str]]) -> None:
    paths = ["/" + "/".join(one) for one in parts]
    paths = [path for path in paths if not path.startswith(("/dev/", "/etc/"))]
    whole = labelled(*paths)
    for path, label in zip(paths, whole, strict=True):
        assert path.endswith("/" + label)
        assert not label.startswith("/")
    # a path that is the end of another one cannot be told from it
    ends = [any(other != path and other.endswith(path) for other in paths) for path in paths]
    free = [label for label, is_end in zip(whole, ends, strict=True) if not is_end]
    assert len(set(free)) == len(free)
    sentence = " and ".join(paths)
    assert not re.search(r"(?<!\S)/", PathLabels([sentence], HERE)(sentence))


def test_all_texts_of_all_blocks_are_changed_and_no_drawing() -> None:
    svg = "<svg><path d='M 0 0'/><g></g></svg>"
    section = Section(
        title="of /a/b/c",
        blocks=[
            Details(summary="/a/b/c", blocks=[Prose("in /a/b/c")]),
            Table(columns=("/a/b/c", "n"), rows=[["/a/b/c", 1], [None, 2.5]], tones={"/a/b/c": "good"}),
            Plot(svg=svg, caption="/a/b/c", narrow_svg=svg),
            Commands(["run /a/b/c"]),
        ],
    )
    changed = portable(section, PathLabels(texts_in(section), HERE))
    assert not [text for text in texts_in(changed) if "/a" in text]
    table = changed.blocks[1]
    assert isinstance(table, Table)
    assert table.rows[0] == ["b/c", 1]
    assert table.tone("b/c") == "good"
    assert changed.blocks[2] == Plot(svg=svg, caption="b/c", narrow_svg=svg)
