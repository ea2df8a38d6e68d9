"""Cells on a Ray cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from distill.recipe import Recipe
from distill.study.process import CELL, CellJob
from distill.study.run import run_cells
from distill.study.study_file import load_study

pytest.importorskip("ray")

from distill.study import cluster

NODES = [{"CPU": 8.0, "memory": 8e9}, {"CPU": 2.0, "memory": 2e9}]


@pytest.mark.parametrize(("cells", "threads"), [(1, 2), (3, 2), (5, 2), (6, 1), (40, 1)], ids=str)
def test_cells_share_the_cores_and_fit_the_smallest_node(cells: int, threads: int) -> None:
    assert cluster.threads(NODES, cells) == threads


def test_a_cell_asks_for_no_more_than_a_node_has(tmp_path: Path) -> None:
    big = CellJob(folder=tmp_path, recipe=Recipe(name="x", cache_mib=10**6), images=10**7)
    assert cluster.needs(big, NODES, 1)["memory"] == 2e9
    assert cluster.needs(big, NODES, 1)["num_gpus"] == 0
    assert cluster.needs(big, [*NODES, {"CPU": 2.0, "memory": 9e9, "GPU": 1.0}], 1)["num_gpus"] == 1


def test_a_node_that_does_not_see_the_data_says_so(tmp_path: Path) -> None:
    why = cluster.run_task(str(tmp_path), 1, str(tmp_path), ["data.yaml", "runs/x/best"])
    assert why is not None
    assert "cannot access data.yaml, runs/x/best" in why["what"]
    assert "every node" in why["hint"]
    assert not (tmp_path / CELL).exists()


@pytest.fixture
def two_nodes(monkeypatch: pytest.MonkeyPatch) -> Any:
    utils = pytest.importorskip("ray.cluster_utils")
    nodes = utils.Cluster()
    for _ in range(2):
        nodes.add_node(num_cpus=1, include_dashboard=False)
    monkeypatch.setenv("RAY_ADDRESS", nodes.address)
    yield nodes
    nodes.shutdown()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_a_study_runs_on_two_nodes(two_nodes: Any, data: Path, tmp_path: Path) -> None:
    small = ["input_hw=[64, 96]", "train_hw=[64, 64]", "epochs=1", "seeds=[0, 1]", 'arms=["none"]']
    _, study, cells = load_study("street", small, [str(data)])
    assert run_cells(study, cells, tmp_path, cluster.run_ray) == {}
    assert len(list(tmp_path.glob("cells/none/yolov5n/seed-*/score.json"))) == 2
