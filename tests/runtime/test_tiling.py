"""A detector that looks at the tiles of a frame."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from edgestill.detections import Detections
from edgestill.errors import UsageError
from edgestill.spec import ModelSpec
from runtime.detector import open_detector
from runtime.letterbox import Letterbox
from runtime.tiling import TiledDetector, Tiling

INPUT_HW = (64, 96)


class Finder:
    """Finds the red rectangle of an image, if its input would show at least four pixels of each side."""

    spec = ModelSpec(name="finder", input_hw=INPUT_HW, classes=("red",))

    def __init__(self) -> None:
        self.seen: list[tuple[int, ...]] = []

    def __call__(self, image_bgr: NDArray[np.uint8]) -> Detections:
        self.seen.append(image_bgr.shape[:2])
        y, x = np.nonzero(image_bgr[:, :, 2])
        scale = Letterbox.fit((image_bgr.shape[0], image_bgr.shape[1]), INPUT_HW).scale
        if not x.size or scale * min(np.ptp(x) + 1, np.ptp(y) + 1) < 4:
            return Detections.empty()
        box = np.array([[x.min(), y.min(), x.max() + 1, y.max() + 1]], np.float32)
        return Detections(box, np.array([0.9], np.float32), np.zeros(1, np.int64))


def frame(*box: int, hw: tuple[int, int] = (128, 192)) -> NDArray[np.uint8]:
    """A black image with a red rectangle x0, y0, x1, y1."""
    image = np.zeros((*hw, 3), np.uint8)
    image[box[1] : box[3], box[0] : box[2], 2] = 255
    return image


@pytest.mark.parametrize(
    ("hw", "columns", "rows", "overlap"),
    [
        ((720, 1280), 2, 2, 0.2),
        ((720, 1280), 3, 1, 0.1),
        ((417, 739), 4, 3, 0.0),
        ((31, 7), 5, 2, 0.5),
        ((2, 2), 16, 16, 0.3),
    ],
)
def test_tiles_of_one_size_cover_the_frame_and_overlap(
    hw: tuple[int, int], columns: int, rows: int, overlap: float
) -> None:
    windows = Tiling(columns=columns, rows=rows, overlap=overlap).windows(hw)
    assert len(windows) == columns * rows
    seen = np.zeros(hw, np.int64)
    for x0, y0, x1, y1 in windows:
        assert 0 <= x0 < x1 <= hw[1]
        assert 0 <= y0 < y1 <= hw[0]
        seen[y0:y1, x0:x1] += 1
    assert seen.min() >= 1
    assert len({(x1 - x0, y1 - y0) for x0, y0, x1, y1 in windows}) == 1
    shared = windows[0][2] - windows[1][0]
    assert shared >= overlap * (windows[0][2] - windows[0][0]) - 2


def test_two_by_two_tiles_of_a_hd_frame() -> None:
    assert Tiling(columns=2, rows=2).windows((720, 1280)) == [
        (0, 0, 712, 400),
        (568, 0, 1280, 400),
        (0, 320, 712, 720),
        (568, 320, 1280, 720),
    ]


@pytest.mark.parametrize(
    ("text", "overlap", "message"),
    [
        ("2", 0.2, "is not COLUMNSxROWS"),
        ("2x", 0.2, "is not COLUMNSxROWS"),
        ("-1x2", 0.2, "is not COLUMNSxROWS"),
        ("0x1", 0.2, "grid of 0x1"),
        ("17x1", 0.2, "grid of 17x1"),
        ("2x1", 0.6, "share 0.6"),
        ("2x1", float("nan"), "share nan"),
    ],
)
def test_what_is_no_grid_is_refused(text: str, overlap: float, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Tiling.parse(text, overlap)


def test_what_is_too_small_in_the_frame_is_found_in_a_tile() -> None:
    image = frame(100, 40, 105, 46)  # at half size, 2.5 pixels wide
    assert len(Finder()(image)) == 0
    found = TiledDetector(Finder(), Tiling(columns=2, rows=2))(image)
    assert found.xyxy.tolist() == [[100, 40, 105, 46]]


@pytest.mark.parametrize("x", range(61, 130, 8))
@pytest.mark.parametrize("width", [6, 17, 60, 130])
def test_an_object_at_any_place_is_found_once_and_whole(x: int, width: int) -> None:
    box = [x, 50, min(x + width, 192), 80]
    found = TiledDetector(Finder(), Tiling(columns=2, rows=2))(frame(*box))
    assert found.xyxy.tolist() == [box]


def test_the_frame_alone_is_looked_at_once() -> None:
    finder = Finder()
    found, stages_ms = TiledDetector(finder, Tiling()).timed(frame(50, 50, 80, 80))
    assert finder.seen == [(128, 192)]
    assert found.xyxy.tolist() == [[50, 50, 80, 80]]
    assert list(stages_ms) == ["inference"]


def test_a_grid_that_makes_nothing_larger_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    # 2 x 1 tiles of a frame that has the shape of the input: the height keeps the scale where it is.
    for columns, rows, told in ((2, 2, 0), (2, 1, 1)):
        detector = TiledDetector(Finder(), Tiling(columns=columns, rows=rows))
        for _ in range(2):
            detector(frame(50, 50, 80, 80))
        assert capsys.readouterr().err.count("only 1.00 times as large") == told


@pytest.mark.parametrize("hw", [(720, 1280), (416, 740), (417, 413)])
def test_a_stretched_input_shows_a_frame_as_large_as_its_tiles(hw: tuple[int, int]) -> None:
    tiling = Tiling(columns=3, rows=2)
    in_tiles = tiling.gain(hw, (384, 640)) * Letterbox.fit(hw, (384, 640)).scale
    whole = Letterbox.fit(hw, tiling.stretched((384, 640))).scale
    assert whole == pytest.approx(in_tiles, rel=0.03)  # steps of 32 pixels
    assert Tiling().stretched((384, 640)) == (384, 640)


def test_tiles_and_the_frame_are_looked_at() -> None:
    finder = Finder()
    TiledDetector(finder, Tiling(columns=2, rows=1, overlap=0)).timed(frame(0, 0, 9, 9))
    assert finder.seen == [(128, 96), (128, 96), (128, 192)]


@pytest.fixture(scope="module")
def free_batch(tmp_path_factory: pytest.TempPathFactory, write_lamp_model: Any) -> Path:
    """The lamp model with a batch that is free."""
    model = write_lamp_model()
    graph = model.graph
    for tensor in (*graph.input, *graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_param = "batch"
    (shape,) = (t for t in graph.initializer if t.name == "shape")
    shape.CopyFrom(onnx.numpy_helper.from_array(np.array([-1, 5, 6]), "shape"))
    (boxes,) = (t for t in graph.initializer if t.name == "boxes")
    boxes.name = "one_image"
    batch = [
        onnx.helper.make_node("Shape", ["rows"], ["sizes"]),
        onnx.helper.make_node("Slice", ["sizes", "first", "second"], ["n"]),
        onnx.helper.make_node("Concat", ["n", "same"], ["wanted"], axis=0),
        onnx.helper.make_node("Expand", ["one_image", "wanted"], ["boxes"]),
    ]
    for name, value in {"first": [0], "second": [1], "same": [1, 1]}.items():
        graph.initializer.append(onnx.numpy_helper.from_array(np.array(value), name))
    for place, node in enumerate(batch, len(graph.node) - 1):
        graph.node.insert(place, node)
    path = tmp_path_factory.mktemp("lamps") / "batch.onnx"
    onnx.save(model, path)
    return path


def test_a_free_batch_takes_all_looks_in_one_run_and_finds_the_same(
    free_batch: Path, lamp_model: Path, painted: Any
) -> None:
    image = painted((1, 0, "red"), (0, 2, "green"))
    answers = []
    for path, runs in ((lamp_model, 7), (free_batch, 1)):
        detector = open_detector(path, threads=1)
        fed: list[tuple[int, ...]] = []
        infer = detector.backend.infer

        def counted(feed: Any, infer: Any = infer, fed: Any = fed) -> Any:
            fed.append(feed["images"].shape)
            return infer(feed)

        detector.backend.infer = counted  # type: ignore[method-assign]
        found, stages_ms = TiledDetector(detector, Tiling(columns=3, rows=2, overlap=0.0)).timed(image)
        assert (len(fed), sum(shape[0] for shape in fed)) == (runs, 7)
        assert list(stages_ms) == ["letterbox", "inference", "postprocess"]
        answers.append((found.xyxy.tolist(), found.class_id.tolist(), found.score.tolist()))
    assert answers[0] == answers[1]
    assert sorted(set(answers[0][1])) == [0, 2]
