"""Parity vectors: what is stored, and differences that are found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgestill.detections import Detections
from edgestill.errors import ArtifactError, UsageError
from export.bundle.contents import ParityLimits
from export.bundle.parity import LIMITS, ParityResult, ParityVectors, check_parity, make_vectors, read_vectors
from export.bundle.parity import _match as match
from runtime.backend import open_backend
from runtime.detector import open_detector

Images = list[NDArray[np.uint8]]


@pytest.fixture
def stored(tiny_model: Path, images: Images, tmp_path: Path) -> Path:
    path = tmp_path / "parity.npz"
    path.write_bytes(make_vectors(tiny_model, images)[0].to_bytes())
    return path


def checked(
    model: Path, vectors: Path, limits: ParityLimits = LIMITS["fp32"], backend: str = "ort"
) -> ParityResult:
    with closing(open_detector(model, backend=backend)) as detector:
        return check_parity(detector, vectors, limits)


def test_vectors_are_the_tensors_of_some_images_and_their_outputs(tiny_model: Path, images: Images) -> None:
    vectors, spec, layers = make_vectors(tiny_model, images)
    assert len(vectors.inputs) == len(vectors.expected) == 4
    assert {array.shape for array in vectors.inputs} == {(1, 3, 32, 32)}
    assert vectors.detections == 4  # one an image
    assert vectors.reference["backend"] == "ort"
    assert set(vectors.reference) == {"backend", "device", "version", "machine"}
    assert spec.name == "tiny"
    assert layers == {"float32": 1}


def test_the_same_vectors_are_the_same_bytes(tiny_model: Path, images: Images) -> None:
    first, second = (make_vectors(tiny_model, images)[0].to_bytes() for _ in range(2))
    assert first == second


class AsBf16:
    """A model that says that it runs in bf16; in FP32 its boxes of some images lie elsewhere."""

    def __init__(self, backend: Any, moved: Sequence[bool] = ()) -> None:
        self._backend, self._moved = backend, iter(moved)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def infer(self, feed: Any) -> dict[str, NDArray[Any]]:
        found: dict[str, NDArray[Any]] = self._backend.infer(feed)
        if next(self._moved, False):
            found = {name: array + np.float32(2) * (array > 2) for name, array in found.items()}
        return found

    def layers_by_dtype(self) -> dict[str, int]:
        return {"bfloat16": 1}


def test_of_a_bf16_file_only_images_are_kept_on_which_fp32_agrees(
    tiny_model: Path, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = [True, False, False, True, *[False] * (len(images) - 4)]

    def opened(model: Path, *, threads: int, precision_hint: str | None = None) -> AsBf16:
        return AsBf16(open_backend(model, threads=threads), moved if precision_hint == "f32" else ())

    monkeypatch.setattr("export.bundle.parity.open_backend", opened)
    vectors = make_vectors(tiny_model, images)[0]
    monkeypatch.undo()
    rest = [image for image, apart in zip(images, moved, strict=True) if not apart]
    assert vectors.to_bytes() == make_vectors(tiny_model, rest)[0].to_bytes()
    assert vectors.to_bytes() != make_vectors(tiny_model, images)[0].to_bytes()


@pytest.mark.parametrize("backend", ["ort", "ov"])
def test_the_same_model_agrees(tiny_model: Path, stored: Path, backend: str) -> None:
    result = checked(tiny_model, stored, backend=backend)
    assert (result.images, result.expected, result.matched, result.extra) == (4, 4, 4, 0)
    assert result.failures == ()


def changed(stored: Path, change: Callable[[NDArray[Any]], Any]) -> Path:
    """The file with other expected outputs."""
    pairs = read_vectors(stored)
    for _, expected in pairs:
        change(expected)
    inputs, outputs = zip(*pairs, strict=True)
    vectors = ParityVectors(inputs=inputs, expected=outputs, detections=0, reference={})
    stored.write_bytes(vectors.to_bytes())
    return stored


def set_row(row: int, *values: float) -> Callable[[NDArray[Any]], None]:
    def change(output: NDArray[Any]) -> None:
        output[0, row] = values

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (set_row(0, 16, 16, 8, 16, 0.9, 0.91, 0.1), "a score differs by 0.0090"),
        (set_row(0, 16.5, 16, 8, 16, 0.9, 0.9, 0.1), "a box differs by 0.50 px"),
        (set_row(0, 16, 16, 8, 16, 0.9, 0.1, 0.9), "1 of 4|4 of 4 expected detections are missing"),
        (set_row(1, 5, 5, 8, 8, 0.9, 0.9, 0.1), "4 of 8 expected detections are missing"),
        (set_row(0, 16, 16, 8, 16, 0.1, 0.9, 0.1), "nothing was compared"),
        (set_row(0, 16, 16, 8, 16, 0.1, 0.9, 0.1), "4 confident detections are not expected"),
    ],
)
def test_a_difference_beyond_the_limits_is_found(
    change: Callable[[NDArray[Any]], None], words: str, tiny_model: Path, stored: Path
) -> None:
    import re

    result = checked(tiny_model, changed(stored, change))
    assert re.search(words, "; ".join(result.failures)), result.failures


def test_a_difference_within_the_limits_is_none(tiny_model: Path, stored: Path) -> None:
    path = changed(stored, set_row(0, 16.5, 16, 8, 16, 0.9, 0.88, 0.1))
    assert checked(tiny_model, path, LIMITS["int8"]).failures == ()
    assert checked(tiny_model, path, LIMITS["int8"]).worst_score == pytest.approx(0.018, abs=1e-4)


def test_differences_that_are_no_numbers_fail() -> None:
    same = ParityResult(
        images=1, expected=1, matched=1, extra=0, worst_score=0.0, worst_box_px=0.0, backend="", device="",
        limits=LIMITS["fp32"],
    )  # fmt: skip
    assert same.failures == ()
    assert replace(same, worst_score=float("nan")).failures
    assert replace(same, worst_box_px=float("nan")).failures


def test_a_score_at_the_threshold_is_neither_missing_nor_unexpected() -> None:
    box = np.array([[0, 0, 10, 10]], np.float32)
    ids = np.zeros(1, np.int64)

    def one(score: float) -> Detections:
        return Detections(box, np.array([score], np.float32), ids)

    assert match(one(0.49), one(0.51)) == ([], 0)
    pairs, extra = match(one(0.51), one(0.49))
    assert (len(pairs), extra) == (1, 0)
    assert match(Detections.empty(), one(0.51)) == ([], 1)
    assert match(one(0.51), Detections.empty()) == ([], 0)


def test_a_model_that_finds_nothing_gets_no_vectors(tiny_model: Path) -> None:
    with pytest.raises(UsageError, match=r"finds nothing with a score of 0\.5 or more in 0 images"):
        make_vectors(tiny_model, [])


def test_broken_vectors_and_those_of_another_model_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "parity.npz"
    for data in (
        b"",
        b"no zip",
        ParityVectors(inputs=(), expected=(), detections=0, reference={}).to_bytes(),
    ):
        path.write_bytes(data)
        with pytest.raises(ArtifactError):
            checked(tiny_model, path)
    other = ParityVectors(
        inputs=(np.zeros((1, 3, 64, 64), np.float32),),
        expected=(np.zeros((1, 3, 7), np.float32),),
        detections=1,
        reference={},
    )
    path.write_bytes(other.to_bytes())
    with pytest.raises(ArtifactError, match="not for this model"):
        checked(tiny_model, path)


def test_pickled_arrays_are_not_read(tiny_model: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "parity.npz", input_0=np.array([{}], object), expected_0=np.zeros(1))
    with pytest.raises(ArtifactError):
        checked(tiny_model, tmp_path / "parity.npz")
