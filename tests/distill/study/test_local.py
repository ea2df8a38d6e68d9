"""Cells side by side on one machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from time import monotonic, sleep

import pytest

from distill.recipe import Recipe
from distill.study import local, process
from distill.study.local import Resources, available_resources, parallel_cells, run_local
from distill.study.process import ERROR, SCORE, CellJob, read_failure
from edgestill.files import write_json


def work_of(folder: Path, **recipe: int) -> CellJob:
    folder.mkdir(parents=True)
    return CellJob(folder=folder, recipe=Recipe(name="x", **recipe), images=4)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("resources", "need", "gpu_need", "count"),
    [
        pytest.param(Resources(cores=8, memory_mib=10_000), 3000.0, None, 3, id="memory"),
        pytest.param(Resources(cores=2, memory_mib=100_000), 3000.0, None, 2, id="cores"),
        pytest.param(Resources(cores=2, memory_mib=1000), 3000.0, None, 1, id="always-one"),
        pytest.param(
            Resources(cores=16, memory_mib=100_000, gpu_mib=10_000), 3000.0, None, 1, id="gpu-unknown"
        ),
        pytest.param(
            Resources(cores=16, memory_mib=100_000, gpu_mib=10_000), 3000.0, 4000.0, 2, id="gpu-memory"
        ),
    ],
)
def test_memory_and_cores_decide_how_many_run(
    resources: Resources, need: float, gpu_need: float | None, count: int
) -> None:
    assert parallel_cells(resources, need, gpu_need) == count


def test_a_cell_is_expected_to_need_its_images_or_its_cache(tmp_path: Path) -> None:
    few = work_of(tmp_path / "a")
    many = CellJob(folder=few.folder, recipe=Recipe(name="x", cache_mib=1000), images=10**6)
    assert few.expected_mib() == pytest.approx(process.BASE_MIB + 4 * 384 * 640 * 3 / 2**20)
    assert many.expected_mib() == process.BASE_MIB + 1250


def test_this_machine_has_room() -> None:
    resources = available_resources()
    assert resources.cores >= 1
    assert resources.memory_mib > 100


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Cells become small scripts: a cell's ``code.py``; gives their names and threads as they start."""
    begun: list[tuple[str, int]] = []

    def launch(folder: Path, threads: int) -> subprocess.Popen[bytes]:
        begun.append((folder.name, threads))
        return subprocess.Popen([sys.executable, str(folder / "code.py")])

    monkeypatch.setattr(local, "launch", launch)
    monkeypatch.setattr(local, "available_resources", lambda: Resources(cores=4, memory_mib=10**6))
    return begun


def test_cells_run_side_by_side_in_order_and_end_with_their_codes(
    tmp_path: Path, scripts: list[tuple[str, int]]
) -> None:
    work = [work_of(tmp_path / name) for name in "abcd"]
    for item in work:
        (item.folder / "code.py").write_text("import sys; sys.exit(3)" if item.folder.name == "b" else "")
        write_json(item.folder / SCORE, {"peak_mib": 100, "gpu_peak_mib": 0})
    ended = {done.folder.name: done.failure for done in run_local(work, jobs=2) if done}
    assert [name for name, _ in scripts] == ["a", "b", "c", "d"]
    assert {threads for _, threads in scripts} == {2}
    assert {name for name, why in ended.items() if why} == {"b"}
    assert ended["b"] is not None
    assert ended["b"]["what"] == "the process ended with code 3"


def test_no_more_run_than_was_asked_for(tmp_path: Path, scripts: list[tuple[str, int]]) -> None:
    work = [work_of(tmp_path / name) for name in "abc"]
    for item in work:
        (item.folder / "code.py").write_text("")
        write_json(item.folder / SCORE, {"peak_mib": 100, "gpu_peak_mib": 0})
    finished_cells = 0
    for done in run_local(work, jobs=1):
        finished_cells += done is not None
        assert len(scripts) <= finished_cells + 1
    assert finished_cells == 3


def test_a_recipe_that_names_its_threads_keeps_them(tmp_path: Path, scripts: list[tuple[str, int]]) -> None:
    item = work_of(tmp_path / "a", threads=3)
    (item.folder / "code.py").write_text("")
    write_json(item.folder / SCORE, {"peak_mib": 100, "gpu_peak_mib": 0})
    list(run_local([item], jobs=1))
    assert scripts == [("a", 0)]


def test_an_interrupted_study_ends_its_cells(tmp_path: Path, scripts: list[tuple[str, int]]) -> None:
    item = work_of(tmp_path / "a")
    sign = item.folder / "sign"
    (item.folder / "code.py").write_text(
        f"import signal, sys, time, pathlib\n"
        f"signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path({str(sign)!r}).touch(), sys.exit(1)))\n"
        f"pathlib.Path({str(item.folder / 'up')!r}).touch()\ntime.sleep(60)\n"
    )
    events = run_local([item], jobs=1)
    next(events)
    while not (item.folder / "up").exists():
        next(events)
    events.close()
    assert sign.exists()


def test_why_a_process_ended(tmp_path: Path) -> None:
    assert read_failure(tmp_path, 0) is None
    killed = read_failure(tmp_path, -9)
    assert killed
    assert "signal 9" in killed["what"]
    assert "--jobs 1" in killed["hint"]
    write_json(tmp_path / ERROR, {"what": "no such file", "hint": "look", "exit_code": 3})
    report = read_failure(tmp_path, 3)
    assert report
    assert report["what"] == "no such file"


def test_a_cell_ends_when_the_process_that_started_it_ends(tmp_path: Path) -> None:
    watch = (
        "from distill.study.cell import _exit_with_parent\nimport os, pathlib, time\n"
        "_exit_with_parent(os.getppid())\n"
        f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid()))\n"
        "time.sleep(120)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {watch!r}])"]
    )
    deadline = monotonic() + 100
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert monotonic() < deadline
        sleep(0.1)
    parent.kill()
    parent.wait()
    orphan = Path("/proc", (tmp_path / "pid").read_text(), "cmdline")
    while orphan.exists() and orphan.read_bytes():  # a zombie has no command line
        assert monotonic() < deadline
        sleep(0.1)
