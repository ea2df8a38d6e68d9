"""A suite's steps: their order, how an interrupted suite goes on, and what is not mixed."""

import fcntl
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.suite.definition import Suite
from benchmarks.suite.rows import Limits, summarise
from benchmarks.suite.run import Inputs, SuiteFolder
from benchmarks.suite.tool import Outcome, run_edgestill
from edgestill.errors import ArtifactError, UsageError

MS = {"fp32": 20.0, "int8": 10.0}
MAP = {"fp32": 0.5, "int8": 0.48}


class Verbs:
    """Answers as the verbs do; ``fails`` names words of a command that then fails, ``stops`` its number."""

    def __init__(self, fails: Sequence[str] = (), stops: int | None = None) -> None:
        self.calls: list[list[str]] = []
        self.fails, self.stops = fails, stops

    def __call__(self, arguments: Sequence[str]) -> Outcome:
        if self.stops is not None and len(self.calls) == self.stops:
            raise KeyboardInterrupt
        self.calls.append(list(arguments))
        if self.fails and all(any(word in a for a in arguments) for word in self.fails):
            return Outcome(result={}, error="export: INT8 lost too much", exit_code=6)
        return Outcome(result=getattr(self, arguments[0])(list(arguments)))

    def export(self, arguments: list[str]) -> dict[str, Any]:
        name, out = (arguments[arguments.index(flag) + 1] for flag in ("--name", "--out"))
        suffixes = [".xml", ".bin"] if "openvino" in arguments else [".onnx"]
        files = [f"{out}/{name}{suffix}" for suffix in suffixes]
        verify = {"reference_sure": 7, "matched": 7} if "--verify" in arguments else None
        return {"files": files, "bytes": 2 << 20, "input_hw": [64, 96], "verify": verify}

    def eval(self, arguments: list[str]) -> dict[str, Any]:
        precision = next(p for p in MAP if f"-{p}-" in arguments[1])
        return {"map50": 0.8, "map50_95": MAP[precision]}

    def bench(self, arguments: list[str]) -> dict[str, Any]:
        precision = next(p for p in MS if f"-{p}-" in arguments[1])
        ms = MS[precision] + len(self.calls) / 100
        is_single = "single" in arguments
        own = {"environment": {"machine": "here"}, "doubts": ["too short"], "samples": 40}
        cameras = {"age_ms": {"p95": 41.0}, "dropped_share": 0.25} if "--fps" in arguments else {}
        model = {
            **cameras,
            "p50_ms": ms if is_single else None,
            "p90_ms": None,
            "stages_ms": {"inference": ms / 2},
            "throughput_fps": 1e3 / ms,
            "precision_proved": {precision: 60},
            **dict.fromkeys(("energy_mj", "rss_mib", "cold_start_ms")),
            **own,
        }
        return {"models": [model], "footage": {"frames": 4, "source": "images"}}


SUITE = Suite(models={"s": "student"}, backends=("ort", "ov"), scenarios=("single", "offline"), visits=2)


def _folder(
    path: Path, verbs: Verbs, *, suite: Suite = SUITE, force: bool = False, **inputs: Any
) -> SuiteFolder:
    given = Inputs(data=Path("data.yaml"), split="test", **inputs)
    return SuiteFolder(path, suite, given, verbs, force=force)


def test_every_step_is_done_once_and_the_rounds_alternate(tmp_path: Path) -> None:
    verbs = Verbs()
    _folder(tmp_path, verbs, source="images").run()
    by_verb = {
        verb: [call for call in verbs.calls if call[0] == verb] for verb in ("export", "eval", "bench")
    }
    assert {verb: len(calls) for verb, calls in by_verb.items()} == {"export": 4, "eval": 4, "bench": 16}
    first, second = by_verb["bench"][:8], by_verb["bench"][8:]
    assert first == second[::-1]
    assert all(call[call.index("--source") + 1] == "images" for call in first)
    calibrated = [call for call in by_verb["export"] if "--calib" in call]
    assert len(calibrated) == 2
    assert all("int8" in call for call in calibrated)
    again = Verbs()
    _folder(tmp_path, again, source="images").run()
    assert again.calls == []


@pytest.mark.parametrize("stops", [0, 1, 5, 8, 20, 23])
def test_an_interrupted_suite_goes_on_and_measures_the_same(tmp_path: Path, stops: int) -> None:
    first, rest, whole = Verbs(stops=stops), Verbs(), Verbs()
    with pytest.raises(KeyboardInterrupt):
        _folder(tmp_path / "a", first).run()
    _folder(tmp_path / "a", rest).run()
    _folder(tmp_path / "b", whole).run()
    assert len(first.calls) == stops
    assert first.calls + rest.calls == json.loads(
        json.dumps(whole.calls).replace(str(tmp_path / "b"), str(tmp_path / "a"))
    )


def test_a_failed_export_leaves_its_cells_out_and_is_tried_again(tmp_path: Path) -> None:
    verbs = Verbs(fails=("export", "int8", "openvino"))
    folder = _folder(tmp_path, verbs)
    folder.run()
    result = summarise(folder, Limits())
    failed = {row["key"] for row in result["failed"]}
    assert failed == {f"s-own-int8-openvino-ov-1-{scenario}" for scenario in ("single", "offline")}
    assert {row["reason"] for row in result["failed"]} == {"export: INT8 lost too much"}
    assert sum(call[0] == "bench" for call in verbs.calls) == 12
    mended = Verbs()
    again = _folder(tmp_path, mended)
    again.run()
    assert [call[0] for call in mended.calls] == ["export", "eval", *["bench"] * 4]
    assert summarise(again, Limits())["failed"] == []


def test_measurements_with_other_inputs_are_not_mixed(tmp_path: Path) -> None:
    _folder(tmp_path, Verbs(), source="images").run()
    with pytest.raises(UsageError, match="another source"):
        _folder(tmp_path, Verbs(), source="others").run()
    other = Suite(models={"s": "teacher"}, backends=SUITE.backends, scenarios=SUITE.scenarios, visits=2)
    verbs = Verbs()
    with pytest.raises(UsageError, match="another checkpoint"):
        _folder(tmp_path, verbs, suite=other, source="images").run()
    assert verbs.calls == []
    _folder(tmp_path, verbs, suite=other, source="images", force=True).run()
    assert len(verbs.calls) == 24
    assert "teacher" in verbs.calls[0]


def test_more_visits_keep_those_that_are_done(tmp_path: Path) -> None:
    _folder(tmp_path, Verbs()).run()
    verbs = Verbs()
    more = Suite(models=SUITE.models, backends=SUITE.backends, scenarios=SUITE.scenarios, visits=3)
    _folder(tmp_path, verbs, suite=more).run()
    assert [call[0] for call in verbs.calls] == ["bench"] * 8


def test_one_suite_at_a_time_and_no_other_files(tmp_path: Path) -> None:
    with (tmp_path / ".lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match="another suite runs"):
            _folder(tmp_path, Verbs()).run()
    _folder(tmp_path, Verbs()).run()
    record = next((tmp_path / "visits").iterdir())
    record.write_text("[]")
    with pytest.raises(UsageError, match="no record of a suite"):
        _folder(tmp_path, Verbs()).run()
    with pytest.raises(ArtifactError, match=r"no checkpoint nowhere\.pt"):
        _folder(tmp_path, Verbs(), suite=Suite(models={"s": "nowhere.pt"}))


def test_rows_are_medians_with_ratios_within_the_rounds(tmp_path: Path) -> None:
    verbs = Verbs()
    folder = _folder(tmp_path, verbs)
    folder.run()
    rows = {row["key"]: row for row in summarise(folder, Limits())["cells"]}
    fp32, int8 = (rows[f"s-own-{precision}-onnx-ort-1-single"] for precision in ("fp32", "int8"))
    ratios = [b / a for a, b in zip(fp32["visits_p50_ms"], int8["visits_p50_ms"], strict=True)]
    assert int8["time_over_fp32"] == pytest.approx(sum(ratios) / 2, abs=1e-4)
    assert int8["time_over_fp32_range"] == pytest.approx([min(ratios), max(ratios)], abs=1e-4)
    assert fp32["time_over_fp32"] is None
    assert fp32["p50_ms"] == pytest.approx(sum(fp32["visits_p50_ms"]) / 2, abs=1e-4)
    assert (int8["file_mib"], int8["map50_95"], int8["matched_detections"]) == (2.0, 0.48, 7)
    offline = rows["s-own-int8-onnx-ort-1-offline"]
    assert offline["p50_ms"] is None
    assert offline["time_over_fp32"] < 0.6


def test_cameras_have_a_rate_and_no_ratio(tmp_path: Path) -> None:
    suite = Suite(models={"s": "student"}, scenarios=("paced", "multi"), visits=1, fps=12.5, streams=3)
    verbs = Verbs()
    folder = _folder(tmp_path, verbs, suite=suite)
    folder.run()
    (paced, multi) = [call for call in verbs.calls if call[0] == "bench" and "-fp32-" in call[1]]
    assert paced[paced.index("--fps") + 1] == multi[multi.index("--fps") + 1] == "12.5"
    assert "--streams" not in paced
    assert multi[multi.index("--streams") + 1] == "3"
    rows = summarise(folder, Limits())["cells"]
    assert [row["time_over_fp32"] for row in rows] == [None] * 4
    assert [row["dropped_share"] for row in rows] == [0.25] * 4
    assert [row["age_p95_ms"] for row in rows] == [41.0] * 4


def test_a_verb_runs_in_a_new_process_and_its_error_is_one_line() -> None:
    assert run_edgestill(["devices"]).result["devices"]
    failed = run_edgestill(["eval", "nowhere.onnx", "--data", "nowhere.yaml"])
    assert failed.exit_code in {3, 4}
    assert failed.error
    assert failed.error.startswith("eval: ")
    assert "nowhere" in failed.error
