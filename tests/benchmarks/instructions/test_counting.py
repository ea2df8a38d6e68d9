"""Instructions are counted a frame, on the work that the detector does, and growth is refused."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.instructions import __main__ as program
from benchmarks.instructions import counting, of_models
from benchmarks.instructions.baseline_counts import baseline_key, changes, read_baseline, write_baseline
from benchmarks.instructions.counting import Counter, count_stages, find_counter
from benchmarks.instructions.known_inputs import known_inputs
from benchmarks.instructions.workload import STAGES, StageInputs, stage_of
from benchmarks.measure.footage import Footage
from edgestill.errors import DataError, DeviceError
from runtime.detector import open_detector

START, PER_FRAME = 10**9, {"letterbox": 5_000_000, "postprocess": 300_000}
COUNTS = {"coco-640": dict(PER_FRAME), "lights-512x896": dict(PER_FRAME)}


class Fixed(Counter):
    """A counter whose processes take a fixed number of instructions, and are not run."""

    def count(self, command: Sequence[str]) -> int:
        stage, count = command[-2:]
        return START + PER_FRAME[stage] * int(count)


FIXED = Fixed(name="callgrind", version="valgrind-3.0")


@pytest.fixture(scope="module")
def of_tiny(tiny_model: Path) -> tuple[StageInputs, Any]:
    """The inputs of the stages of a real model, and its detections in the same frames."""
    detector = open_detector(tiny_model, threads=1, conf=0.01)
    frames = Footage(None).take(2)
    inputs, found = of_models.stage_inputs(detector, frames), [detector(frame.image_bgr) for frame in frames]
    detector.close()
    return inputs, found


def test_what_is_counted_is_what_the_detector_does(of_tiny: tuple[StageInputs, Any]) -> None:
    inputs, found = of_tiny
    assert sum(map(len, found)) > 0
    run = stage_of("postprocess", inputs)
    for k, expected in enumerate(found):
        np.testing.assert_array_equal(run(k).xyxy, expected.xyxy)  # type: ignore[attr-defined]


def test_inputs_are_read_as_they_were_written(of_tiny: tuple[StageInputs, Any], tmp_path: Path) -> None:
    inputs, _ = of_tiny
    inputs.save(tmp_path / "x.npz")
    read = StageInputs.load(tmp_path / "x.npz")
    assert (read.spec, read.dtype, read.conf, read.iou) == (
        inputs.spec,
        inputs.dtype,
        inputs.conf,
        inputs.iou,
    )
    for a, b in zip([*read.frames, *read.outputs], [*inputs.frames, *inputs.outputs], strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_start_of_a_process_is_not_counted(of_tiny: tuple[StageInputs, Any]) -> None:
    assert count_stages(of_tiny[0], FIXED) == PER_FRAME


def test_known_outputs_hold_objects_that_nms_thins_out() -> None:
    for inputs in known_inputs().values():
        for k in range(len(inputs.frames)):
            kept = stage_of("postprocess", inputs)(k)
            assert 8 <= len(kept) <= 40  # type: ignore[arg-type]
            tensor, _ = stage_of("letterbox", inputs)(k)  # type: ignore[misc]
            assert tensor.shape == inputs.spec.input_shape


def test_known_inputs_are_the_same_every_time() -> None:
    one, other = (known_inputs()["coco-640"] for _ in range(2))
    np.testing.assert_array_equal(one.outputs[3], other.outputs[3])


@pytest.mark.parametrize(
    ("name", "text", "count"),
    [
        pytest.param("perf", "# started\n\n123456,,instructions:u,1,100.00,,\n", 123456, id="perf"),
        pytest.param("perf", "<not supported>,,instructions:u,0,100.00,,\n", None, id="no-counters"),
        pytest.param("perf", "<not counted>,,instructions:u,0,0.00,,\n", None, id="not-counted"),
        pytest.param("callgrind", "==7== Events    : Ir\n==7== Collected : 526100922\n", 526100922, id="cg"),
        pytest.param("callgrind", "valgrind: failed to start\n", None, id="broken"),
    ],
)
def test_the_output_of_the_programs_is_read(name: str, text: str, count: int | None) -> None:
    assert counting._parse(name, text) == count


def stand_in(folder: Path, name: str, body: str) -> None:
    """A program on PATH that takes the options of the real one and refuses others."""
    path = folder / name
    path.write_text(f"#!{sys.executable}\nimport sys\nfrom pathlib import Path\n{body}\n")
    path.chmod(0o755)


PERF = """
if sys.argv[1:] == ["--version"]: print("perf version 6.1"); sys.exit()
assert sys.argv[1:7] == ["stat", "-x", ",", "-e", "instructions:u", "-o"] and sys.argv[8] == "--", sys.argv
Path(sys.argv[7]).write_text("LINE,,instructions:u,1,100.00,,\\n")
"""
VALGRIND = """
if sys.argv[1:] == ["--version"]: print("valgrind-3.0"); sys.exit()
assert sys.argv[1:3] == ["--tool=callgrind", "--callgrind-out-file=/dev/null"], sys.argv
assert sys.argv[4] == "--", sys.argv
Path(sys.argv[3].removeprefix("--log-file=")).write_text("==1== Collected : 77\\n")
"""


@pytest.mark.parametrize(
    ("line", "expected"),
    [("42", ("perf", "perf version 6.1")), ("<not supported>", ("callgrind", "valgrind-3.0"))],
)
def test_perf_is_taken_where_it_counts_and_callgrind_else(
    line: str, expected: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, "perf", PERF.replace("LINE", line))
    stand_in(tmp_path, "valgrind", VALGRIND)
    monkeypatch.setenv("PATH", str(tmp_path))
    find_counter.cache_clear()
    found = find_counter()
    find_counter.cache_clear()
    assert found is not None
    assert (found.name, found.version) == expected


def without_tools(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(of_models, "find_counter", lambda: None)
    monkeypatch.setattr(program, "find_counter", lambda: None)


def test_without_a_tool_the_counts_are_null_with_the_reason(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_tools(monkeypatch, tmp_path)
    models = [{"name": "m", "file": str(tiny_model), "tile": "1x1"}]
    of_models.add_counts(models, source=None, options={})
    assert models[0]["instructions"] is None
    assert "valgrind is not installed" in models[0]["instructions_reason"]
    assert "valgrind is not installed" in str(of_models.in_words(models[0]))
    assert program.main(["--baseline", "x.json"]) == DeviceError.exit_code


def test_models_get_their_counts_and_tiled_ones_a_reason(tiny_model: Path) -> None:
    whole, tiled = ({"name": t, "file": str(tiny_model), "tile": t} for t in ("1x1", "2x1"))
    of_models.add_counts([whole, tiled], source=None, options={"threads": 1}, counter=FIXED)
    counts: Any = whole["instructions"]
    assert (counts["per_frame"], counts["frames"], counts["tool"]) == (PER_FRAME, 4, "callgrind")
    assert counts["environment"]["PYTHONHASHSEED"] == "0"
    assert of_models.in_words(whole) == (
        "1x1: instructions a frame: letterbox 5.00 million, postprocess 0.30 million (callgrind)"
    )
    assert tiled["instructions"] is None
    assert "tiles" in tiled["instructions_reason"]


def test_a_count_that_grows_by_more_than_five_percent_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    baseline = tmp_path / "baseline.json"
    monkeypatch.setattr(program, "find_counter", lambda: FIXED)
    assert program.main(["--baseline", str(baseline)]) == DataError.exit_code
    assert f"has no counts for {baseline_key(FIXED)}" in capsys.readouterr().err
    assert program.main(["--baseline", str(baseline), "--update"]) == 0
    assert read_baseline(baseline) == {baseline_key(FIXED): COUNTS}
    monkeypatch.setitem(PER_FRAME, "letterbox", 5_240_000)
    assert program.main(["--baseline", str(baseline)]) == 0
    monkeypatch.setitem(PER_FRAME, "letterbox", 5_260_000)
    capsys.readouterr()
    assert program.main(["--baseline", str(baseline)]) == 6
    out, err = capsys.readouterr()
    assert err.startswith(
        "benchmarks.instructions: more than 5% above the baseline: coco-640 letterbox: 5260000"
    )
    assert [c["ratio"] for c in json.loads(out)["changes"]] == [1.052, 1.0, 1.052, 1.0]


def test_baselines_of_other_libraries_stay(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    write_baseline(path, "old", COUNTS)
    write_baseline(path, "new", COUNTS)
    assert list(read_baseline(path)) == ["new", "old"]


def test_stages_that_the_baseline_does_not_have_are_said() -> None:
    with pytest.raises(DataError, match="other stages: lights-512x896 letterbox, lights-512x896 postprocess"):
        changes(COUNTS, {"coco-640": PER_FRAME})


@pytest.mark.parametrize(
    "text", ["[]", "{", '{"key": 1}', '{"k": {"i": {"s": "1"}}}', '{"k": {"i": {"s": -1}}}']
)
def test_a_broken_baseline_is_a_data_error(text: str, tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    path.write_text(text)
    with pytest.raises(DataError):
        read_baseline(path)


def test_the_committed_baseline_is_readable_and_has_all_stages() -> None:
    found = read_baseline(Path(__file__).with_name("baseline.json"))
    assert found
    for counts in found.values():
        assert {(name, stage) for name in known_inputs() for stage in STAGES} == {
            (name, stage) for name, stages in counts.items() for stage in stages
        }


@pytest.mark.slow
def test_a_real_tool_counts_the_same_twice(of_tiny: tuple[StageInputs, Any]) -> None:
    counter = find_counter()
    if counter is None:
        pytest.skip("neither perf with counters nor valgrind is here")
    one, other = (count_stages(of_tiny[0], counter) for _ in range(2))
    for stage in STAGES:
        assert one[stage] == pytest.approx(other[stage], rel=0.005)
        assert one[stage] > 10_000
