"""Samples are taken as promised: warm-up apart, in turns, alternating, with reasons for doubt."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from benchmarks.measure import cold
from benchmarks.measure.collect import TURN, Settings, collect
from benchmarks.measure.footage import PATTERN_FRAMES, Footage, draw_street
from benchmarks.measure.samples import STAGES, Samples, sample_doubts
from benchmarks.measure.subjects import unique_names
from benchmarks.scenarios.single import bench
from benchmarks.statistics.compare import LEAST_ROUNDS
from edgestill.detections import Detections
from edgestill.errors import ArtifactError, DataError, UsageError
from runtime.frames import Frame

FAST: dict[str, Any] = {"duration_s": 0.0, "min_samples": 1, "warmup_s": 0.0}


class Fake:
    """A detector that writes down when it was asked, and says that it took 1 + 2 + 3 ms."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log

    def timed(self, image_bgr: np.ndarray) -> tuple[Detections, dict[str, float]]:
        self.log.append(self.name)
        return Detections.empty(), {"letterbox": 1.0, "inference": 2.0, "postprocess": 3.0}


@pytest.fixture(scope="module", autouse=True)
def one_fresh_process() -> Iterator[None]:
    """Each costs a second of starting Python; one shows what there is to show."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cold, "RUNS", 1)
        yield


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("picture") / "street.png"
    cv2.imwrite(str(path), draw_street(0)[:96, :160])
    return path


@pytest.fixture(scope="module")
def measured(tiny_model: Path, picture: Path) -> dict[str, Any]:
    """One real measurement of two models, shared by the tests that only read it."""
    return bench(
        [tiny_model, tiny_model],
        Settings(source=str(picture), duration_s=0, min_samples=50, warmup_s=0, interleave=True, threads=1),
    )


def turns(log: list[str]) -> list[str]:
    """The log without repeats in a row."""
    return [name for i, name in enumerate(log) if i == 0 or log[i - 1] != name]


def take(names: str, picture: Path, **settings: Any) -> tuple[list[Samples], list[str]]:
    log: list[str] = []
    fakes = [Fake(name, log) for name in names]
    samples = collect(fakes, Footage(str(picture)), Settings(**{**FAST, **settings}), lambda: None)
    return samples, log


def test_turns_alternate_when_interleaved(picture: Path) -> None:
    _, log = take("ab", picture, min_samples=1, interleave=True)
    assert "".join(turns(log[6:])) == "a" + LEAST_ROUNDS // 2 * "ba"  # a b | b a | a b | b a ...


def test_models_run_one_after_the_other_otherwise(picture: Path) -> None:
    _, log = take("ab", picture, min_samples=4 * TURN)
    assert turns(log[6:]) == ["a", "b"]


def test_interleaved_models_have_the_same_rounds(picture: Path) -> None:
    samples, _ = take("abc", picture, min_samples=36, interleave=True)
    assert (
        samples[0].rounds
        == samples[1].rounds
        == samples[2].rounds
        == [r for r in range(9) for _ in range(TURN)]
    )


def test_the_first_run_of_a_turn_is_not_counted(picture: Path) -> None:
    samples, log = take("a", picture)
    assert (len(samples[0]), len(log)) == (TURN, 3 + 1 + TURN)  # three to warm up, one to settle


def test_samples_are_taken_until_time_and_number_are_reached(picture: Path) -> None:
    samples, _ = take("a", picture, duration_s=0.2, min_samples=1)
    assert samples[0].frame_ms.sum() >= 200


def test_a_frame_is_the_sum_of_its_stages() -> None:
    samples = Samples()
    frame = Frame(image_bgr=draw_street(0), index=0, captured_s=0, name="x", decode_ms=4.0)
    samples.add(frame, {"letterbox": 1.0, "inference": 2.0, "postprocess": 3.0}, 0, 5)
    assert list(samples.frame_ms) == [10.0]


def test_a_result_tells_percentiles_stages_and_samples(measured: dict[str, Any]) -> None:
    model = measured["models"][0]
    assert model["samples"] == len(model["samples_ms"]["inference"]) == 52
    assert {stage for stage, ms in model["stages_ms"].items() if ms is not None} == set(STAGES)
    assert 0 < model["p50_ms"] <= model["p90_ms"] <= model["p90_upper_ms"]


def test_p99_of_too_few_samples_is_null_with_the_reason(measured: dict[str, Any]) -> None:
    model = measured["models"][0]
    assert model["p99_ms"] is None
    assert model["p99_reason"] == "p99 needs 459 samples for an upper bound at 99% confidence; there are 52"


def test_a_result_tells_what_ran_and_where(measured: dict[str, Any], tiny_model: Path) -> None:
    model = measured["models"][0]
    assert (model["backend"], model["precision_proved"], model["environment"]["threads"]) == (
        "ort",
        {"float32": 1},
        1,
    )
    assert list(model["sha256"]) == [tiny_model.name]
    assert model["environment"]["machine"]["cpu"]["cores"] > 0


def test_cold_start_and_memory_come_from_fresh_processes(measured: dict[str, Any]) -> None:
    model = measured["models"][0]
    assert model["cold_start_ms"] == pytest.approx(
        model["cold_start"]["load_ms"] + model["cold_start"]["first_ms"], abs=0.02
    )
    assert model["rss_mib"] > 20


def test_the_same_model_twice_is_not_told_apart_by_name_or_speed(measured: dict[str, Any]) -> None:
    assert [m["name"] for m in measured["models"]] == ["tiny.onnx", "tiny.onnx #2"]
    assert [(c["measure"], c["paired"]) for c in measured["ratios"]] == [("frame", True), ("inference", True)]


def test_a_drawn_street_is_a_doubt_and_a_picture_is_none(measured: dict[str, Any], tiny_model: Path) -> None:
    drawn = bench([tiny_model], Settings(**FAST))
    assert any("drawn test pattern" in d for d in drawn["models"][0]["doubts"])
    assert not any("drawn test pattern" in d for d in measured["models"][0]["doubts"])


def test_a_broken_fresh_process_leaves_the_figures_out(tmp_path: Path) -> None:
    found = cold.measure(tmp_path / "missing.onnx", "auto", None)
    assert found == {**dict.fromkeys(cold.KEYS), "each": []}


@pytest.mark.parametrize(
    ("stages", "found", "doubt"),
    [
        pytest.param([10.0, 14.0] * 50, 9, "deviation of inference times is 17% of their mean", id="spread"),
        pytest.param([10.0] * 50 + [10.6] * 50, 9, "is +6% from the first: a drift", id="drift"),
        pytest.param([10.0] * 100, 0, "there were no detections in any frame", id="nothing-found"),
        pytest.param([10.0] * 100, 9, "100 samples are too few for p99", id="few"),
    ],
)
def test_samples_that_are_not_to_be_trusted_say_so(stages: list[float], found: int, doubt: str) -> None:
    samples = Samples(rounds=list(range(len(stages))), found=found)
    samples.stages_ms["inference"] = stages
    assert any(doubt in d for d in sample_doubts(samples))


def test_steady_samples_that_found_something_are_not_doubted() -> None:
    samples = Samples(rounds=list(range(500)), found=9)
    samples.stages_ms["inference"] = [10.0, 10.2] * 250
    assert sample_doubts(samples) == []


def test_files_of_one_name_are_told_apart_by_their_folder() -> None:
    assert unique_names(["a/m.onnx", "b/m.onnx"]) == ["a/m.onnx", "b/m.onnx"]


def test_different_files_need_no_folder() -> None:
    assert unique_names(["a/m.onnx", "a/m.xml"]) == ["m.onnx", "m.xml"]


def test_the_drawn_street_is_the_same_every_time() -> None:
    np.testing.assert_array_equal(draw_street(3), draw_street(3))


def test_footage_starts_again_when_it_ends() -> None:
    footage = Footage(None)
    frames = footage.take(PATTERN_FRAMES + 2)
    assert [f.index for f in frames[-2:]] == [0, 1]
    assert footage.describe() == {
        "source": "pattern",
        "frames": PATTERN_FRAMES,
        "sizes_hw": [[720, 1280]],
        "of": PATTERN_FRAMES,
        "content": None,
    }


def folder_of(path: Path, sizes: dict[str, tuple[int, int]]) -> str:
    path.mkdir()
    for name, hw in sizes.items():
        cv2.imwrite(str(path / f"{name}.png"), np.zeros((*hw, 3), np.uint8))
    return str(path)


def test_a_folder_is_spread_over_from_its_first_frames_on(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "x", {f"{i:03d}": (8, 8) for i in range(100)})
    names = [int(frame.name[:3]) for frame in Footage(source).take(100)]
    assert sorted(names) == list(range(100))
    for count in (4, 8, 20):
        gaps = np.diff([0, *sorted(names[:count]), 100])
        assert gaps.max() <= 2.6 * 100 / count, "a run of any length has images of all parts of the folder"
    assert [int(frame.name[:3]) for frame in Footage(source).take(100)] == names


def test_every_size_of_a_folder_comes_first_and_then_in_proportion(tmp_path: Path) -> None:
    sizes = {f"a{i:02d}": (48, 64) for i in range(30)} | {f"b{i:02d}": (96, 128) for i in range(10)}
    source = folder_of(tmp_path / "x", {**sizes, "zz": (200, 40)})
    footage = Footage(source)
    assert {frame.image_bgr.shape[:2] for frame in footage.take(3)} == {(48, 64), (96, 128), (200, 40)}
    heights = [frame.image_bgr.shape[0] for frame in footage.take(20)]
    assert (heights.count(48), heights.count(96)) == (15, 5)
    assert footage.describe()["of"] == 41


def test_models_one_after_the_other_get_the_same_frames(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "x", {f"{i:02d}": (8 + i, 8) for i in range(50)})
    seen: dict[str, list[int]] = {"a": [], "b": []}

    class Noting(Fake):
        def timed(self, image_bgr: np.ndarray) -> tuple[Detections, dict[str, float]]:
            seen[self.name].append(image_bgr.shape[0])
            return super().timed(image_bgr)

    footage, settings = Footage(source), Settings(**FAST)
    collect([Noting("a", []), Noting("b", [])], footage, settings, lambda: None)
    assert seen["a"] == seen["b"]


def test_the_content_of_a_source_is_that_of_its_files(tmp_path: Path, picture: Path) -> None:
    one, other = (folder_of(tmp_path / x, {"a": (8, 8), "b": (16, 8)}) for x in "xy")
    content = Footage(one).describe()["content"]
    assert content == Footage(f"{one}/").describe()["content"] == Footage(other).describe()["content"]
    assert content != Footage(str(picture)).describe()["content"]


def test_two_models_get_as_many_rounds_as_a_verdict_needs(tiny_model: Path, picture: Path) -> None:
    found = bench([tiny_model, tiny_model], Settings(source=str(picture), interleave=True, threads=1, **FAST))
    assert {c["a_samples"] for c in found["ratios"]} == {LEAST_ROUNDS * TURN}
    assert not any("rounds" in str(c["reason"]) for c in found["ratios"])


def test_a_missing_source_is_refused_before_a_model_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        bench([tmp_path / "missing.onnx"], Settings(source=str(tmp_path / "missing.mp4"), **FAST))


def test_a_missing_model_is_an_artifact_error(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError):
        bench([tmp_path / "missing.onnx"], Settings(**FAST))


@pytest.mark.parametrize("wrong", [{"duration_s": -1.0}, {"min_samples": 0}, {"warmup_s": -1.0}])
def test_settings_that_measure_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="nothing to measure"):
        Settings(**wrong)
