"""Every study of a paper, from its training to its table, on a few tiny images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
import torch

from distill.checkpoints import native
from distill.models.yolov5 import build, model_spec
from distill.study.cell import run_cell
from distill.study.process import CellJob, CellResult
from distill.study.report import report
from distill.study.run import run_cells
from distill.study.study_file import load_study
from edgestill.spec import HeadKind

CLASSES = ("red", "yellow", "green", "off")
TINY = (
    *("seeds=[0]", "input_hw=[64, 96]", "train_hw=[64, 64]", "epochs=2", "batch=4", "eval_every=2"),
    *("threads=1", "loader_threads=1", "resamples=20", "device=cpu"),
)
#: Settings that make a study small, and its teachers: their head by the key that names them.
STUDIES: Mapping[str, tuple[Sequence[str], Mapping[str, HeadKind]]] = {
    "temperature": ((), {"teacher": "coupled"}),
    "region-parts": ((), {"teacher": "coupled"}),
    "integrated-heads": (("student.init=",), {"teacher": "decoupled"}),
    "integrated-lambda": (("student.init=",), {"teacher": "decoupled"}),
    "aer1515": ((), {f"teachers.yolov5{size}": "coupled" for size in "lxm"}),
    "mkd-teachers": (("augment_late.at=1",), {f"teachers.yolov5{size}": "coupled" for size in "ls"}),
    "mkd-ablation": (("augment_late.at=1",), {f"teachers.yolov5{size}": "coupled" for size in "sm"}),
    "mkd-weights": (("augment_late.at=1",), {f"teachers.yolov5{size}": "coupled" for size in "sm"}),
}


def in_this_process(work: Sequence[CellJob]) -> Iterator[CellResult | None]:
    """Runs cells one after the other, without a process for each."""
    for item in work:
        run_cell(item.folder, threads=1)
        yield CellResult(folder=item.folder)


def save_teacher(folder: Path, head: HeadKind) -> Path:
    """A small teacher with random weights, in place of the published one."""
    torch.manual_seed(1)
    model = build("n", len(CLASSES), head=head)
    native.save(folder, model, model_spec(model, CLASSES, (64, 96)), {"epoch": 1})
    return folder


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("name", STUDIES)
def test_a_study_of_a_paper_runs_from_its_training_to_its_table(
    name: str, data: Path, tmp_path: Path
) -> None:
    settings, heads = STUDIES[name]
    teachers = [
        f"{key}={save_teacher(tmp_path / f'{key}-run' / 'best', head)}" for key, head in heads.items()
    ]
    _, study, cells = load_study(name, [*TINY, *settings, *teachers], [str(data)])
    assert run_cells(study, cells, tmp_path / "out", in_this_process) == {}
    result = report(name, study, cells, tmp_path / "out", {})
    assert result["finished"] == len(cells)
    lines = result["paper"]
    for table in study.paper:
        shown = [line for line in lines if line["table"] == table.title]
        for row in table.rows:
            papers, ours = (
                [line for line in shown if (line["row"], line["source"]) == (row.name, source)]
                for source in ("paper", "study")
            )
            assert papers
            assert bool(ours) == bool(row.arm)
            if not ours:
                continue
            for column, key in table.columns.items():
                has_class = key.partition(" ")[2] not in {"relevant", "not_relevant"}
                assert (ours[0][column] is not None) == (has_class and not is_empty_size(key))
    text = (tmp_path / "out" / "table.md").read_text()
    assert all(f"## {table.title}" in text and table.remark in text for table in study.paper)
    teacher_rows = [row for row in result["rows"] if row["arm"] == "(the teacher)"]
    assert len(teacher_rows) == len(heads)
    assert all(row["gflops"] > 0 and row["map75 mean"] is not None for row in teacher_rows)


def is_empty_size(key: str) -> bool:
    """The tiny images have objects of one size only: 29 x 19 pixels."""
    return key in {"size medium", "size large"}
