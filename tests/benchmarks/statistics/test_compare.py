"""Ratios find a planted difference, and find none where none was planted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.statistics.compare import (
    CONFIDENCE,
    LEAST_ROUNDS,
    RESAMPLES,
    compare_models,
    compare_results,
    in_words,
    ratio_of_medians,
    verdict,
)
from edgestill.errors import DataError, UsageError

ROUNDS, PER_ROUND = 40, 8


def model(name: str, inference_ms: np.ndarray, decode_ms: float = 2.0) -> dict[str, Any]:
    """An entry of a bench result with samples of ``[ROUNDS, PER_ROUND]``."""
    count = inference_ms.size
    return {
        "name": name,
        "samples_ms": {
            "decode": [decode_ms] * count,
            "letterbox": [1.0] * count,
            "inference": list(inference_ms.ravel()),
            "postprocess": [0.5] * count,
        },
        "rounds": list(np.repeat(np.arange(len(inference_ms)), inference_ms.shape[1])),
        "environment": {"machine": {"title": "box"}, "threads": 2, "versions": {"numpy": "2"}},
    }


def result(*models: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "bench", "models": list(models), "footage": {"source": "x"}}


def times(seed: int, scale: float = 1.0, weather: np.ndarray | None = None) -> np.ndarray:
    """Samples that go up and down together in rounds, as on a machine with neighbours."""
    rng = np.random.default_rng(seed)
    slow = 1 + 0.3 * (rng.random(ROUNDS) if weather is None else weather)
    return scale * 10 * slow[:, None] * (1 + 0.02 * rng.random((ROUNDS, PER_ROUND)))


WEATHER = np.random.default_rng(9).random(ROUNDS)


def inference(found: list[dict[str, Any]]) -> dict[str, Any]:
    return next(c for c in found if c["measure"] == "inference")


@pytest.mark.parametrize(
    ("scale", "expected"),
    [
        pytest.param(0.6, "faster", id="40-percent-faster"),
        pytest.param(1.4, "slower", id="40-percent-slower"),
        pytest.param(1.0, "can't tell", id="the-same"),
    ],
)
def test_a_planted_difference_is_found_and_no_other(scale: float, expected: str) -> None:
    found = compare_models(
        model("a", times(1, 1.0, WEATHER)), model("b", times(2, scale, WEATHER)), paired=True
    )
    assert inference(found)["verdict"] == expected


def test_pairing_takes_the_weather_out_of_the_interval() -> None:
    a, b = model("a", times(1, 1.0, WEATHER)), model("b", times(2, 0.97, WEATHER))
    widths = [
        (c := inference(compare_models(a, b, paired=paired)))["high"] - c["low"] for paired in (True, False)
    ]
    assert widths[0] < widths[1] / 3


def test_three_percent_between_separate_runs_is_not_told() -> None:
    still = np.zeros(ROUNDS)
    a, b = model("a", times(1, 1.0, still)), model("b", times(2, 0.97, still))
    assert inference(compare_models(a, b, paired=False))["verdict"] == "can't tell"
    assert inference(compare_models(a, b, paired=True))["verdict"] == "faster"


def test_a_few_rounds_are_too_few_for_a_verdict() -> None:
    few = LEAST_ROUNDS - 1
    a, b = model("a", times(1)[:few]), model("b", times(2, 0.5)[:few])
    found = inference(compare_models(a, b, paired=True))
    assert found["verdict"] == "can't tell"
    assert found["reason"].startswith("7 rounds of samples are too few for the interval, 8 are needed")
    assert (found["a_samples"], found["b_samples"]) == (few * PER_ROUND,) * 2
    assert in_words(found).endswith(f"can't tell, {found['reason']}")


def test_an_interval_around_one_is_the_reason_where_rounds_are_enough() -> None:
    a, b = model("a", times(1, 1.0, WEATHER)), model("b", times(2, 1.0, WEATHER))
    found = inference(compare_models(a, b, paired=True))
    assert found["reason"].startswith("the interval ")
    assert found["reason"].endswith("is not beyond 0.99 or 1.01")
    clear = inference(compare_models(a, model("b", times(2, 0.5, WEATHER)), paired=True))
    assert clear["reason"] is None


def test_the_whole_frame_and_inference_are_both_compared() -> None:
    still = np.zeros(ROUNDS)
    found = compare_models(model("a", times(1, 1.0, still)), model("b", times(2, 0.5, still)), paired=True)
    ratios = {c["measure"]: c["ratio"] for c in found}
    assert ratios["inference"] == pytest.approx(0.5, abs=0.01)
    assert ratios["frame"] == pytest.approx((5.05 + 3.5) / (10.1 + 3.5), abs=0.01)


def test_the_interval_is_the_same_every_time() -> None:
    rounds = list(times(1))
    assert ratio_of_medians(rounds, rounds[::-1], paired=False) == ratio_of_medians(
        rounds, rounds[::-1], paired=False
    )


def test_the_ratio_turns_over_when_the_sides_change() -> None:
    a, b = list(times(1, 1.0, WEATHER)), list(times(2, 0.6, WEATHER))
    forth, back = ratio_of_medians(a, b, paired=True)[0], ratio_of_medians(b, a, paired=True)[0]
    assert forth * back == pytest.approx(1)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.5, 0.94, "faster"), (0.5, 0.96, "can't tell"), (1.06, 2, "slower"), (0.9, 1.1, "can't tell")],
)
def test_an_interval_must_leave_the_margin(low: float, high: float, expected: str) -> None:
    assert verdict(low, high, 0.05) == expected


def test_two_results_with_one_model_each_are_compared_whatever_their_names() -> None:
    found = compare_results(result(model("a", times(1))), result(model("b", times(2, 0.5))))
    assert [(c["a"], c["b"], c["verdict"]) for c in found["comparisons"]] == [("a", "b", "faster")] * 2


def test_results_with_several_models_are_matched_by_name() -> None:
    one = result(model("a", times(1)), model("b", times(2)))
    two = result(model("b", times(3)), model("c", times(4)))
    assert {(c["a"], c["b"]) for c in compare_results(one, two)["comparisons"]} == {("b", "b")}


def test_results_without_a_common_model_are_a_usage_error() -> None:
    one = result(model("a", times(1)), model("b", times(2)))
    with pytest.raises(UsageError, match="no model is in both results: a, b / c"):
        compare_results(one, result(model("c", times(3))))


def test_what_differs_between_two_runs_is_named() -> None:
    other = model("a", times(2))
    other["environment"] = {"machine": {"title": "board"}, "threads": 4, "versions": {"numpy": "2"}}
    doubts = compare_results(result(model("a", times(1))), {**result(other), "footage": None})["doubts"]
    assert "the machine differs: box / board" in doubts
    assert "the number of threads differs: 2 / 4" in doubts
    assert "the frames differ: one result does not say on which it was measured" in doubts


def frames(**changes: Any) -> dict[str, Any]:
    return {"source": "street", "frames": 40, "sizes_hw": [[720, 1280]], **changes}


@pytest.mark.default_cases("other-words", "a-tenth-of-the-frames")
@pytest.mark.parametrize(
    ("a", "b", "doubts"),
    [
        pytest.param(frames(), frames(frames=48), [], id="40-and-48-of-a-folder"),
        pytest.param(frames(source="street/"), frames(), [], id="other-words"),
        pytest.param(frames(content="x"), frames(source="/data/x", content="x"), [], id="moved"),
        pytest.param(
            frames(content="x"),
            frames(content="y"),
            ["the content of the source differs: street / street"],
            id="files-were-added",
        ),
        pytest.param(
            frames(),
            frames(source="night", sizes_hw=[[480, 640], [720, 1280]]),
            [
                "the source of the frames differs: street / night",
                "the sizes of the frames differ: 720x1280 / 480x640, 720x1280",
            ],
            id="another-folder",
        ),
        pytest.param(
            frames(frames=4),
            frames(),
            ["the number of different frames of street differs: 4 / 40"],
            id="a-tenth-of-the-frames",
        ),
    ],
)
def test_only_what_differs_between_the_frames_is_named(
    a: dict[str, Any], b: dict[str, Any], doubts: list[str]
) -> None:
    results = [{**result(model(name, times(1))), "footage": f} for name, f in (("a", a), ("b", b))]
    assert compare_results(results[0], results[1])["doubts"][1:] == doubts


def test_settings_of_the_models_that_differ_are_named() -> None:
    one, other = model("a", times(1)), model("b", times(2))
    one |= {"input_hw": [640, 640], "conf": 0.25, "tile": "1x1"}
    other |= {"input_hw": [256, 256], "conf": 0.25, "tile": "2x1"}
    assert compare_results(result(one), result(other))["doubts"][1:] == [
        "the input size differs: [640, 640] of a / [256, 256] of b",
        "the tiling differs: 1x1 of a / 2x1 of b",
    ]


def on(name: str, scale: float, seed: int, **environment: Any) -> dict[str, Any]:
    """A model of a quiet machine whose environment is changed in places."""
    found = model(name, times(seed, scale, np.zeros(ROUNDS))) | {"backend": "ort", "device": "CPU"}
    machine = {"title": "box", "jetson": {"power_mode": "15W"}, "cpu": {"governor": "performance"}}
    calm = {"machine": machine, "threads": 2, "versions": {"numpy": "2", "onnxruntime": "1.20"}}
    return found | {"environment": calm | environment}


def clocks(**median: float) -> dict[str, Any]:
    return {"clocks_mhz": {name: {"median": value} for name, value in median.items()}}


MODES = {"title": "box", "jetson": {"power_mode": "25W"}, "cpu": {"governor": "performance"}}
GOVERNED = {"title": "box", "jetson": {"power_mode": "15W"}, "cpu": {"governor": "powersave"}}
SLOW = {"monitors": clocks(cpu=1000)}
FAST = {"monitors": clocks(cpu=1500)}


@pytest.mark.parametrize(
    ("before", "after", "scale", "reason"),
    [
        pytest.param({}, {"machine": MODES}, 0.5, "the power mode differs: 15W / 25W", id="power-mode"),
        pytest.param(
            {},
            {"machine": GOVERNED},
            2.0,
            "frequency governor differs: performance / powersave",
            id="governor",
        ),
        pytest.param(
            {},
            {"versions": {"numpy": "2", "onnxruntime": "1.22"}},
            0.5,
            "the version of onnxruntime differs: 1.20 / 1.22",
            id="version-of-the-backend",
        ),
        pytest.param(SLOW, FAST, 0.7, "clock of cpu differs: 1000 / 1500 MHz", id="clock-explains-faster"),
        pytest.param(FAST, SLOW, 1.45, "explains ratios of 1.00 to 1.50", id="clock-explains-slower"),
        pytest.param(
            {"calibration_ms": {"median": 4.0}},
            {"calibration_ms": {"median": 6.0}},
            1.4,
            "a fixed workload took 4 / 6 ms",
            id="the-cpu-was-slower-and-no-clock-can-be-read",
        ),
    ],
)
def test_a_difference_that_the_conditions_explain_is_not_called_one(
    before: dict[str, Any], after: dict[str, Any], scale: float, reason: str
) -> None:
    a, b = on("a", 1.0, 1, **before), on("b", scale, 2, **after)
    found = inference(compare_results(result(a), result(b))["comparisons"])
    assert found["verdict"] == "can't tell"
    assert reason in found["reason"]
    assert found["ratio"] == pytest.approx(scale, rel=0.05)


@pytest.mark.default_cases("nothing-differs", "against-the-clock", "machines-are-what-is-compared")
@pytest.mark.parametrize(
    ("before", "after", "scale", "expected"),
    [
        pytest.param({}, {}, 0.5, "faster", id="nothing-differs"),
        pytest.param(SLOW, FAST, 0.4, "faster", id="more-than-the-clock-explains"),
        pytest.param(SLOW, FAST, 1.4, "slower", id="against-the-clock"),
        pytest.param(FAST, SLOW, 0.7, "faster", id="faster-at-a-lower-clock"),
        pytest.param(FAST, {"monitors": clocks(cpu=1510)}, 0.7, "faster", id="noise-of-the-clock"),
        pytest.param(
            {"monitors": clocks(gpu=600)},
            {"monitors": clocks(gpu=1200)},
            0.7,
            "faster",
            id="clock-of-a-gpu-that-is-not-used",
        ),
        pytest.param(
            {},
            {"versions": {"numpy": "2", "onnxruntime": "1.20", "openvino": "2026"}},
            0.7,
            "faster",
            id="version-of-another-backend",
        ),
        pytest.param(
            {}, {"machine": {**MODES, "title": "another"}}, 0.5, "faster", id="machines-are-what-is-compared"
        ),
    ],
)
def test_a_difference_that_the_conditions_do_not_explain_is_called(
    before: dict[str, Any], after: dict[str, Any], scale: float, expected: str
) -> None:
    a, b = on("a", 1.0, 1, **before), on("b", scale, 2, **after)
    assert inference(compare_results(result(a), result(b))["comparisons"])["verdict"] == expected


def test_the_clock_of_a_gpu_counts_for_what_runs_on_it() -> None:
    a, b = (
        on(name, scale, seed, monitors=clocks(gpu=mhz)) | {"device": "cuda: Orin"}
        for name, scale, seed, mhz in (("a", 1.0, 1, 600), ("b", 0.6, 2, 1200))
    )
    found = inference(compare_results(result(a), result(b))["comparisons"])
    assert (found["verdict"], "the clock of gpu differs" in found["reason"]) == ("can't tell", True)


def test_the_version_of_numpy_explains_whole_frames_and_not_inference() -> None:
    versions = {"numpy": "3", "onnxruntime": "1.20"}
    a, b = on("a", 1.0, 1), on("b", 0.5, 2, versions=versions)
    verdicts = {c["measure"]: c["verdict"] for c in compare_results(result(a), result(b))["comparisons"]}
    assert verdicts == {"frame": "can't tell", "inference": "faster"}


@pytest.mark.parametrize("sizes", [(1, 2, 3), (4, 4), (5, 1, 1, 2)])
def test_the_ratio_is_of_the_medians_of_all_samples_of_the_drawn_rounds(sizes: tuple[int, ...]) -> None:
    random = np.random.default_rng(3)
    a, b = ([random.gamma(2, 1, size) for size in sizes] for _ in range(2))
    draws = np.random.default_rng(0)
    ratios = []
    for _ in range(RESAMPLES):
        drawn = draws.integers(0, len(a), len(a))
        first, second = (np.median(np.concatenate([side[i] for i in drawn])) for side in (a, b))
        ratios.append(second / first)
    wanted = np.quantile(ratios, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    assert ratio_of_medians(a, b, paired=True)[1:] == pytest.approx(tuple(wanted), rel=1e-12)


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"kind": "eval"}, id="another-kind"),
        pytest.param({"kind": "bench", "models": []}, id="empty"),
        pytest.param([1, 2], id="a-list"),
        pytest.param({"kind": "bench", "models": [{"name": "a"}]}, id="no-samples"),
        pytest.param(result(model("a", np.zeros((0, 8)))), id="no-rounds"),
        pytest.param(result(model("a", np.full((9, 8), np.nan))), id="no-numbers"),
        pytest.param(result({**model("a", np.ones((9, 8))), "rounds": [0, 1]}), id="other-rounds"),
        pytest.param(result({**model("a", np.ones((1, 2))), "rounds": [0, {"1": 2}]}), id="mixed-rounds"),
        pytest.param(result({**model("a", np.ones((1, 2))), "rounds": [0, float("nan")]}), id="rounds-nan"),
        pytest.param(result({**model("a", np.ones((9, 8))), "samples_ms": [1, 2]}), id="no-stages"),
        pytest.param(result({**model("a", np.ones((9, 8))), "name": 7}), id="a-name-that-is-a-number"),
    ],
)
def test_what_is_no_result_of_bench_is_a_data_error(wrong: Any) -> None:
    with pytest.raises(DataError, match=r"^before\.json ") as caught:
        compare_results(wrong, result(model("a", times(1))), names=("before.json", "after.json"))
    assert caught.value.exit_code == 3


def test_a_comparison_reads_as_a_sentence() -> None:
    still = np.zeros(ROUNDS)
    found = compare_models(model("a", times(1, 1.0, still)), model("b", times(2, 0.5, still)), paired=True)
    assert in_words(inference(found)).startswith("b against a, inference: 0.5")
    assert in_words(inference(found)).endswith(": faster")
