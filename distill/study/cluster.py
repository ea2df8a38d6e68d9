"""Cells of a study on a Ray cluster, one task each; Ray schedules and retries them.

The cluster is that of ``RAY_ADDRESS``, else one running on this machine (``ray start``), else a new one of
this machine alone. A cell whose node fails is run on another and resumes from its last epoch. All nodes see
the study's folder, the data and the weights under the same paths, and have this project installed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ray

from distill.study.process import CellJob, CellResult, launch, read_failure
from edgestill.progress import say

POLL_S = 0.5
RETRIES = 3  # of a cell whose node failed


def run_ray(work: Sequence[CellJob]) -> Iterator[CellResult | None]:
    """Run cells as tasks of a Ray cluster, see ``CellRunner``."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no telemetry
    ray.init(log_to_driver=False, logging_level="warning")
    try:
        yield from _tasks(work)
    finally:
        ray.shutdown()  # also ends the tasks and their processes


def _tasks(work: Sequence[CellJob]) -> Iterator[CellResult | None]:
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    say(f"Ray: {len(nodes)} nodes, {sum(node.get('CPU', 0) for node in nodes):.0f} cores")
    task = ray.remote(run_task)
    running = {
        task.options(**needs(item, nodes, len(work))).remote(
            str(item.folder.absolute()), int(threads(nodes, len(work))), str(Path.cwd()), _paths(item)
        ): item
        for item in work
    }
    while running:
        ended, _ = ray.wait(list(running), timeout=POLL_S)
        for reference in ended:
            yield CellResult(folder=running.pop(reference).folder, failure=_outcome(reference))
        yield None


def threads(nodes: Sequence[Mapping[str, float]], cells: int) -> int:
    """Cores of a cell: those of the cluster by the number of cells, at most those of the smallest node."""
    cores = [node["CPU"] for node in nodes if node.get("CPU")]
    return max(1, int(min(sum(cores) // cells, *cores)))


def needs(work: CellJob, nodes: Sequence[Mapping[str, float]], cells: int) -> dict[str, Any]:
    """The resources of a cell, at most those of the smallest node: Ray never schedules a larger request."""
    memory = min((node["memory"] for node in nodes if "memory" in node), default=0)
    gpu = work.recipe.device != "cpu" and any(node.get("GPU") for node in nodes)
    return {
        "num_cpus": threads(nodes, cells),
        "num_gpus": int(gpu),
        "memory": int(min(work.expected_mib() * 2**20, memory)),
        "max_retries": RETRIES,
        "scheduling_strategy": "SPREAD",
    }


def run_task(folder: str, threads: int, cwd: str, paths: Sequence[str]) -> Mapping[str, Any] | None:
    """Run a cell on its node; gives the error, or None."""
    missing = [path for path in (cwd, folder, *paths) if not Path(cwd, path).exists()]
    if missing:
        node = ray.util.get_node_ip_address()
        return {
            "what": f"the node {node} cannot access {', '.join(missing)}",
            "hint": "put --out, data and weights where every node can access them by the same path",
            "exit_code": 3,
        }
    return read_failure(Path(folder), launch(Path(folder), threads, Path(cwd)).wait())


def _paths(work: CellJob) -> list[str]:
    """Files that a cell reads, as named in its recipe, except the shipped weights."""
    named = (*work.recipe.data, work.recipe.teacher, work.recipe.student.init)
    return [path for path in named if path and path not in {"student", "teacher"}]


def _outcome(reference: Any) -> Mapping[str, Any] | None:
    try:
        why: Mapping[str, Any] | None = ray.get(reference)
    except ray.exceptions.RayError as error:
        return {
            "what": f"Ray failed: {str(error).splitlines()[0]}",
            "hint": "`ray status` shows the nodes; the same command resumes the remaining cells",
            "exit_code": 5,
        }
    return why
