"""Label rows give the boxes that the ``ultralytics`` package reads."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgestill.dataset import Labels, read_labels
from edgestill.errors import DataError

NC = 3
BOX = "1 0.5 0.5 0.25 0.5"
POLYGON = "2 0.1 0.1 0.4 0.15 0.35 0.6 0.05 0.5 0.02 0.3"
ORIENTED = "0 0.6 0.1 0.8 0.3 0.7 0.4 0.5 0.2"


def package_rows(folder: Path, text: str, keypoints: tuple[int, int]) -> NDArray[np.float32] | None:
    """Class and box of each row ``[N, 5]`` by the package; None if it leaves the image out."""
    utils = pytest.importorskip("ultralytics.data.utils")
    cv2.imwrite(str(folder / "x.png"), np.zeros((20, 20, 3), np.uint8))
    (folder / "x.txt").write_text(text)
    found: Any = utils.verify_image_label(
        (str(folder / "x.png"), str(folder / "x.txt"), "", False, NC, *keypoints, False)
    )
    return None if found[1] is None else np.asarray(found[1], np.float32)


def our_rows(folder: Path, text: str, keypoints: tuple[int, int]) -> Labels:
    (folder / "x.txt").write_text(text)
    return read_labels(folder / "x.txt", NC, keypoint_columns=keypoints[0] * keypoints[1])


@pytest.mark.parametrize(
    ("rows", "keypoints"),
    [
        pytest.param([BOX], (0, 0), id="box"),
        pytest.param([BOX, "0 0.2 0.3 0.1 0.1", BOX], (0, 0), id="equal-rows"),
        pytest.param([POLYGON], (0, 0), id="polygon"),
        pytest.param([POLYGON, ORIENTED, POLYGON], (0, 0), id="equal-polygons"),
        pytest.param([POLYGON, POLYGON.replace("0.3", "0.31")], (0, 0), id="polygons-of-one-box"),
        pytest.param([ORIENTED, "1 0.1 0.1 0.2 0.1 0.2 0.2"], (0, 0), id="oriented-and-triangle"),
        pytest.param(["0 0.1 0.2 1.008 0.2 0.5 0.9"], (0, 0), id="polygon-over-the-edge-by-rounding"),
        pytest.param([BOX + " 0.4 0.4 2 0.5 0.5 1"], (2, 3), id="keypoints"),
        pytest.param([BOX + " 0.4 0.4 0.5 0.5", BOX], (2, 2), id="keypoints-and-a-box"),
        pytest.param(["", ""], (0, 0), id="empty"),
    ],
)
def test_rows_are_read_as_the_package_reads_them(
    tmp_path: Path, rows: list[str], keypoints: tuple[int, int]
) -> None:
    text = "\n".join(rows) + "\n"
    theirs, ours = package_rows(tmp_path, text, keypoints), our_rows(tmp_path, text, keypoints)
    assert theirs is not None
    table = np.column_stack((ours.class_id, ours.cxcywh))
    assert table.shape == theirs.shape
    np.testing.assert_allclose(
        table[np.lexsort(table.T)], theirs[np.lexsort(theirs.T)], atol=1e-6
    )  # the package sorts rows when it removes some


@pytest.mark.parametrize(
    "row",
    [
        pytest.param("0 0.5 0.5 0.1", id="short"),
        pytest.param(BOX + " 0.9", id="a-score"),
        pytest.param(BOX + " 0.4 0.4 2", id="keypoints-that-data-yaml-does-not-name"),
        pytest.param("3 0.5 0.5 0.1 0.1", id="class-too-high"),
        pytest.param("0.5 0.5 0.5 0.1 0.1", id="half-a-class"),
        pytest.param("0 0.5 0.5 x 0.1", id="a-word"),
        pytest.param("0 0,5 0,5 0,1 0,1", id="commas"),
        pytest.param("0 320 240 10 10", id="pixels"),
    ],
)
def test_rows_for_which_the_package_drops_the_image_are_errors(tmp_path: Path, row: str) -> None:
    assert package_rows(tmp_path, row, (0, 0)) is None
    with pytest.raises(DataError):
        our_rows(tmp_path, row, (0, 0))


def test_boxes_beside_polygons_are_read_though_the_package_drops_the_image(tmp_path: Path) -> None:
    text = f"{BOX}\n{POLYGON}\n"
    assert package_rows(tmp_path, text, (0, 0)) is None
    ours = our_rows(tmp_path, text, (0, 0))
    assert ours.class_id.tolist() == [1, 2]
    np.testing.assert_allclose(ours.cxcywh, [[0.5, 0.5, 0.25, 0.5], [0.21, 0.35, 0.38, 0.5]], atol=1e-6)
