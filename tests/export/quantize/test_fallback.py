"""The smallest number of the worst blocks with which the gate holds, found in few builds and told."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from edgestill.checkpoint import Checkpoint
from edgestill.dataset import Dataset
from edgestill.errors import UsageError, VerificationError
from edgestill.manifest import Manifest, read_manifest
from edgestill.spec import ModelSpec
from export.build import export
from export.job import Job
from export.publish import ExportResult
from export.quantize import sensitivity_plot
from export.quantize.blocks import PrecisionBlock
from export.quantize.calibration.images import Calibration, choose_images
from export.quantize.fallback import MAX_WORK, NO_LATENCY, FallbackResult, TriedBuild, find_fallback
from export.quantize.sensitivity import Sensitivity, rank
from export.verify.gate import BeyondLimitsError

PACE = {"ratio": 1.25, "low": 1.2, "high": 1.3, "verdict": "slower"}


def told(drop: float, failures: Sequence[str]) -> dict[str, Any]:
    return {"drop_points": drop, "candidate_map50_95": 0.5 - drop / 100, "failures": list(failures)}


class Bench:
    """Twelve blocks of equal work; the gate holds from ``needed`` on."""

    def __init__(self, spec: ModelSpec, needed: int, count: int = 12) -> None:
        self.needed, self.spec, self.builds = needed, spec, 0
        self.ranking = [
            Sensitivity(
                block=PrecisionBlock(
                    name=f"b{i}", nodes=frozenset(), convolutions=(), work=1 / count, elements=1
                ),
                error=1 / (i + 1),
            )
            for i in range(count)
        ]

    def attempt(self, moved: Sequence[PrecisionBlock]) -> TriedBuild:
        self.builds += 1
        return self.candidate(len(moved))

    def candidate(self, count: int, *, runs: bool = True) -> TriedBuild:
        figures = told(3.0 - count / 10, [] if count >= self.needed else ["mAP50-95 fell"])
        record = Manifest(
            spec=self.spec,
            format="onnx",
            files={},
            precision="int8",
            precision_proved={},
            inputs=(),
            outputs=(),
            built_with={},
            parent_sha256="",
            verify=None if count < self.needed else figures,
        )
        path = Path(f"{count}/m.onnx")
        return TriedBuild(
            path=path,
            record=record,
            compared=path if runs else Path("graph.onnx"),
            refusal=BeyondLimitsError("far", hint="no", comparison=figures) if count < self.needed else None,
        )

    def repaired(self) -> FallbackResult:
        return find_fallback(self.candidate(0), self.ranking, self.attempt, lambda a, b: PACE)


@pytest.mark.parametrize("needed", range(1, 7))
def test_as_few_blocks_leave_as_need_to_in_few_builds(needed: int, spec: ModelSpec) -> None:
    bench = Bench(spec, needed)
    made = bench.repaired()
    assert [block.name for block in made.moved] == [f"b{i}" for i in range(needed)]
    assert made.candidate.path == Path(f"{needed}/m.onnx")
    assert bench.builds <= 2 * math.log2(12) + 2
    assert bench.builds == len(made.record["steps"])


def test_a_repair_beyond_half_of_the_work_is_given_up_with_the_last_state(
    spec: ModelSpec, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = Bench(spec, needed=7)
    with pytest.raises(VerificationError, match="cannot be repaired") as caught:
        bench.repaired()
    assert "with 6 of 12 blocks, 50% of the work, moved (b0, b1, b2, b3, b4, b5): mAP50-95 fell" in (
        caught.value.what
    )
    assert caught.value.exit_code == 6
    assert bench.builds == 4  # 1, 2, 4, 6
    assert "repair: moved b0, b1: mAP50-95 fell" in capsys.readouterr().err
    assert pytest.approx(0.5) == MAX_WORK


def test_every_step_tells_what_it_moved_gained_and_cost(spec: ModelSpec) -> None:
    record = Bench(spec, needed=3).repaired().record
    assert record["because"] == ["mAP50-95 fell"]
    assert record["unrepaired"]["drop_points"] == pytest.approx(3.0)
    assert list(record["sensitivity"]) == [f"b{i}" for i in range(12)]
    assert [len(step["moved"]) for step in record["steps"]] == [1, 2, 4, 3]
    last = record["steps"][-1]
    assert last["moved"] == record["moved"] == ["b0", "b1", "b2"]
    assert last["gain_points"] == pytest.approx(0.3)
    assert last["work"] == pytest.approx(0.25)
    assert last["latency"] == PACE
    assert last["failures"] == []


def test_what_cannot_run_here_has_no_latency_and_says_why(
    spec: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(spec, needed=1)
    monkeypatch.setattr(bench, "attempt", lambda moved: bench.candidate(len(moved), runs=False))
    assert bench.repaired().record["steps"][0]["latency"] == {"unproved": NO_LATENCY}


# Sensitivity


def test_one_moved_score_is_its_share_of_all(float_model: onnx.ModelProto, calibration: Calibration) -> None:
    """All scores fall by a tenth, and nothing else: the error is a tenth of the mean score by score."""
    block = PrecisionBlock(name="x", nodes=frozenset(), convolutions=(), work=1, elements=1)
    same, less = (
        rank(float_model, [block], lambda b: float_model, calibration),
        rank(float_model, [block], lambda b: scaled(float_model, 0.9), calibration),
    )
    assert same[0].error == pytest.approx(0.0, abs=1e-6)
    assert 0.005 < less[0].error < 0.1


def scaled(model: onnx.ModelProto, factor: float) -> onnx.ModelProto:
    """The same network, whose objectness is a factor of what it was."""
    new = onnx.ModelProto()
    new.CopyFrom(model)
    columns = np.array([1, 1, 1, 1, factor, 1, 1], np.float32)
    new.graph.node[-1].output[0] = "before"
    new.graph.node.append(onnx.helper.make_node("Mul", ["before", "columns"], ["output0"], name="scaled"))
    new.graph.initializer.append(onnx.numpy_helper.from_array(columns, "columns"))
    return new


@pytest.mark.parametrize("factor", [0.0, np.nan])
def test_a_block_that_kills_all_scores_is_worse_than_any(
    factor: float, float_model: onnx.ModelProto, calibration: Calibration
) -> None:
    block = PrecisionBlock(name="x", nodes=frozenset(), convolutions=(), work=1, elements=1)
    found = rank(float_model, [block], lambda b: scaled(float_model, factor), calibration)
    assert found[0].error > 0.1
    assert np.isfinite(found[0].error)


@pytest.fixture
def calibration(dataset: Dataset, checkpoint: Checkpoint) -> Calibration:
    return choose_images(dataset, checkpoint.spec, count=2)


# Through the whole export


def bytes_left(path: Path) -> int:
    """Blocks whose weights are bytes."""
    stored = {t.name for t in onnx.load(path).graph.initializer if t.name.endswith("weight.bytes")}
    return len({".".join(name.split(".")[:2]) for name in stored})


def gate(most: int) -> Any:
    """A gate that holds where at most so many blocks are in bytes."""

    def check(built: Path, source: Path) -> Mapping[str, Any]:
        left = bytes_left(built)
        figures = told(left / 10, [] if left <= most else [f"{left} blocks in bytes"])
        if left > most:
            raise BeyondLimitsError("too far", hint="repair it", comparison=figures)
        return figures

    return check


def publish(
    checkpoint: Checkpoint, calibration: Calibration, out: Path, most: int, cache: Path
) -> ExportResult:
    job = Job(checkpoint=checkpoint, target="onnx", precision="int8", calibration=calibration, cache=cache)
    return export(job, out, "m", check=gate(most), repair_with=lambda a, b: PACE)


@pytest.mark.slow
def test_a_repaired_file_is_published_with_its_picture_and_the_same_every_time(
    checkpoint: Checkpoint,
    calibration: Calibration,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    seen_before: Path,
) -> None:
    """Of the blocks, every fifth can be moved: each is measured by an export of its own."""
    monkeypatch.setattr("export.build.rank", lambda source, blocks, *of: rank(source, blocks[::5], *of))
    made = [
        publish(checkpoint, calibration, tmp_path / name, most=16, cache=seen_before) for name in ("a", "b")
    ]
    names = ["m.onnx", "m.onnx.manifest.json", "m.onnx.sensitivity.png"]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == names
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    manifest = read_manifest(made[0].files[0])
    assert manifest is not None
    record = manifest.repair
    assert record is not None
    assert len(record["moved"]) == 2
    assert record["plot"] == "m.onnx.sensitivity.png"
    assert made[0].plot == tmp_path / "a" / "m.onnx.sensitivity.png"
    left = (manifest.calibration or {})["left_float"]
    assert all(any(conv.startswith(f"{name}.") for conv in left) for name in record["moved"])
    assert bytes_left(made[0].files[0]) == 16


@pytest.mark.slow
def test_a_file_that_holds_is_the_one_without_repair(
    checkpoint: Checkpoint,
    calibration: Calibration,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    seen_before: Path,
) -> None:
    monkeypatch.setattr("export.build.rank", lambda *_: pytest.fail("it looked"))
    made = publish(checkpoint, calibration, tmp_path / "a", most=18, cache=seen_before)
    job = Job(
        checkpoint=checkpoint, target="onnx", precision="int8", calibration=calibration, cache=seen_before
    )
    export(job, tmp_path / "b", "m", check=gate(18))
    assert made.record.repair is None
    assert made.plot is None
    for path in (tmp_path / "b").iterdir():
        assert path.read_bytes() == (tmp_path / "a" / path.name).read_bytes()


@pytest.fixture
def ranked_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks in the order of the network; looking at each has its own tests."""

    def in_order(source: Any, blocks: Sequence[PrecisionBlock], *_: Any) -> tuple[Sensitivity, ...]:
        return tuple(Sensitivity(block=block, error=1.0) for block in blocks)

    monkeypatch.setattr("export.build.rank", in_order)


@pytest.mark.slow
@pytest.mark.usefixtures("ranked_unseen")
def test_what_cannot_be_repaired_leaves_nothing_behind(
    checkpoint: Checkpoint, calibration: Calibration, tmp_path: Path, seen_before: Path
) -> None:
    with pytest.raises(VerificationError, match="cannot be repaired"):
        publish(checkpoint, calibration, tmp_path / "out", most=0, cache=seen_before)
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("ranked_unseen")
def test_fp16_blocks_move_to_fp32(checkpoint: Checkpoint, calibration: Calibration, tmp_path: Path) -> None:
    def check(built: Path, source: Path) -> Mapping[str, Any]:
        kinds = {t.data_type for t in onnx.load(built).graph.initializer if t.name.endswith("conv.weight")}
        figures = told(0.2, [] if len(kinds) == 2 else ["all in FP16"])
        if figures["failures"]:
            raise BeyondLimitsError("too far", hint="repair it", comparison=figures)
        return figures

    job = Job(checkpoint=checkpoint, target="onnx", precision="fp16", calibration=calibration)
    made = export(job, tmp_path / "out", "m", check=check, repair_with=lambda a, b: PACE)
    assert made.record.repair is not None
    assert len(made.record.repair["moved"]) == 1


def test_fp32_has_nothing_to_repair(checkpoint: Checkpoint, tmp_path: Path) -> None:
    def check(built: Path, source: Path) -> Mapping[str, Any]:
        raise BeyondLimitsError("too far", hint="no", comparison=told(1, ["far"]))

    job = Job(checkpoint=checkpoint, target="onnx", precision="fp32")
    with pytest.raises(VerificationError, match="no block of it can be moved"):
        export(job, tmp_path / "out", "m", check=check, repair_with=lambda a, b: PACE)


def test_without_matplotlib_there_is_no_picture_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], spec: ModelSpec
) -> None:
    def missing(*_: object) -> NDArray[Any]:
        raise ModuleNotFoundError("no", name="matplotlib")

    monkeypatch.setattr(sensitivity_plot, "plot", missing)
    assert sensitivity_plot.draw(Path("m.onnx"), tmp_path, Bench(spec, 1).ranking, []) is None
    assert "no plot of the sensitivities" in capsys.readouterr().err


def test_an_older_picture_is_not_replaced_unasked(
    checkpoint: Checkpoint, calibration: Calibration, tmp_path: Path, seen_before: Path
) -> None:
    (tmp_path / "m.onnx.sensitivity.png").write_bytes(b"older")
    with pytest.raises(UsageError, match="exists already"):
        publish(checkpoint, calibration, tmp_path, most=18, cache=seen_before)
