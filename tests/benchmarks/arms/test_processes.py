"""Fresh processes take turns as promised, and their rounds can be compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import pytest

from benchmarks.arms import processes
from benchmarks.arms.processes import LEAST_OF_PROCESS, Arm, Worker, collect_in_processes, least_rounds
from benchmarks.arms.worker import WorkerOptions
from benchmarks.measure.collect import TURN, Settings
from benchmarks.measure.footage import Footage, draw_street
from benchmarks.statistics.compare import LEAST_ROUNDS
from edgestill.errors import DeviceError, UsageError
from runtime.tiling import Tiling

A, B = Path("a.onnx"), Path("b.onnx")


class Fake:
    """A process that writes down what it was told."""

    log: list[str]

    def __init__(self, options: WorkerOptions) -> None:
        self.name, self.options = Path(options.model).stem, options
        self.warmup_ms: list[float] = []
        self.log.append(f"start {self.name}")

    def wait_until_ready(self) -> None:
        self.warmup_ms = [2.0, 2.0]
        self.log.append(f"ready {self.name}")

    def turn(self) -> dict[str, Any]:
        self.log.append(self.name)
        times = {"decode": 1.0, "letterbox": 1.0, "inference": 2.0, "postprocess": 1.0}
        return {
            "stages_ms": {s: [ms] * TURN for s, ms in times.items()},
            "other_ms": {},
            "gpu_ms": [],
            "found": 3,
        }

    def close(self) -> None:
        self.log.append(f"end {self.name}")


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(processes, "Worker", Fake)
    monkeypatch.setattr(processes, "sha256_file", str)
    Fake.log = []
    return Fake.log


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("picture") / "street.png"
    cv2.imwrite(str(path), draw_street(0)[:96, :160])
    return str(path)


def settings_of(picture: str, **changes: Any) -> Settings:
    given = {"source": picture, "duration_s": 0.0, "min_samples": 1, "warmup_s": 0.0, "threads": 1}
    return Settings(**{**given, **changes})


def arm(*builds: Path) -> Arm:
    return Arm(builds=builds, tiling=Tiling())


def test_both_arms_live_at_once_and_the_order_alternates_on_both_levels(log: list[str], picture: str) -> None:
    collect_in_processes([arm(A), arm(B)], Footage(picture), settings_of(picture, processes=2), lambda: None)
    turns = LEAST_OF_PROCESS * 2
    first, second = log[: turns + 6], log[turns + 6 :]
    assert first[:4] == ["start a", "ready a", "start b", "ready b"]
    assert "".join(first[4:-2]) == "abba" * (turns // 4)
    assert second[:4] == ["start b", "ready b", "start a", "ready a"]
    assert "".join(second[4:-2]) == "baab" * (turns // 4)
    assert {*first[-2:]} == {*second[-2:]} == {"end a", "end b"}


def test_rounds_are_numbered_over_all_processes(log: list[str], picture: str) -> None:
    a, b = collect_in_processes(
        [arm(A), arm(B)], Footage(picture), settings_of(picture, processes=3), lambda: None
    )
    assert a.rounds == b.rounds == [r for r in range(3 * LEAST_OF_PROCESS) for _ in range(TURN)]
    assert a.processes == [p for p in range(3) for _ in range(LEAST_OF_PROCESS * TURN)]
    assert (a.found, len(a.warmup_ms)) == (3 * 3 * LEAST_OF_PROCESS, 3)
    assert a.total_ms == pytest.approx(5.0 * len(a))


def test_builds_of_an_arm_take_turns(log: list[str], picture: str) -> None:
    second = Path("a2.onnx")
    a, b = collect_in_processes(
        [arm(A, second), arm(B)], Footage(picture), settings_of(picture, processes=3), lambda: None
    )
    assert (a.builds, b.builds) == (2, 1)
    starts = [line for line in log if line.startswith("start a")]
    assert starts == ["start a", "start a2", "start a"]


def test_time_and_samples_are_divided_between_processes(log: list[str], picture: str) -> None:
    (taken,) = collect_in_processes(
        [arm(A)], Footage(picture), settings_of(picture, processes=2, duration_s=1.0), lambda: None
    )
    assert len(taken) == 200  # of 5 ms each
    (taken,) = collect_in_processes(
        [arm(A)], Footage(picture), settings_of(picture, processes=2, min_samples=100), lambda: None
    )
    assert len(taken) == 104  # 13 turns in each process


@pytest.mark.parametrize("count", range(1, 12))
def test_all_processes_together_have_the_rounds_of_a_comparison(count: int) -> None:
    assert count * least_rounds(count) >= LEAST_ROUNDS


def test_processes_end_when_one_of_them_fails(log: list[str], picture: str, monkeypatch: Any) -> None:
    def fail(self: Fake) -> dict[str, Any]:
        raise DeviceError("it ended", hint="x")

    monkeypatch.setattr(Fake, "turn", fail)
    with pytest.raises(DeviceError):
        collect_in_processes(
            [arm(A), arm(B)], Footage(picture), settings_of(picture, processes=1), lambda: None
        )
    assert {line for line in log if line.startswith("end")} == {"end a", "end b"}


def test_real_processes_measure_a_real_model(tiny_model: Path, picture: str) -> None:
    (taken,) = collect_in_processes(
        [arm(tiny_model)], Footage(picture), settings_of(picture, processes=1), lambda: None
    )
    assert len(taken) == LEAST_ROUNDS * TURN
    assert {stage: len(times) for stage, times in taken.stages_ms.items()} == dict.fromkeys(
        ("decode", "letterbox", "inference", "postprocess"), len(taken)
    )
    assert all(ms > 0 for ms in taken.stages_ms["inference"])


def test_a_process_that_cannot_load_its_model_says_why(tmp_path: Path, picture: str) -> None:
    options = WorkerOptions(
        model=str(tmp_path / "gone.onnx"), source=picture, warmup_s=0, tile="1x1", tile_overlap=0, detector={}
    )
    worker = Worker(options)
    with pytest.raises(DeviceError, match=r"gone\.onnx ended: .*gone\.onnx"):
        worker.wait_until_ready()
    worker.close()


def test_other_builds_without_processes_are_refused() -> None:
    with pytest.raises(UsageError, match="nothing takes turns"):
        Settings(builds=((A, B),))
