"""Cells of a study on a Ray cluster, one task each: Ray places, retries and counts, nothing of it is ours.

The cluster is the one that ``RAY_ADDRESS`` names, else one that runs on this machine (``ray start``), else
one of this machine alone. A cell whose node dies is run again elsewhere and goes on from its last epoch. All
nodes see the study's folder, the data and the weights under the same paths, and have this project installed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ray

from distill.study.process import Done, Work, failure, launch
from edgestill.progress import say

POLL_S = 0.5
RETRIES = 3  # of a cell whose node died


def run_ray(work: Sequence[Work]) -> Iterator[Done | None]:
    """Run cells as tasks of a Ray cluster, see ``Engine``."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # tell nobody
    ray.init(log_to_driver=False, logging_level="warning")
    try:
        yield from _tasks(work)
    finally:
        ray.shutdown()  # ends the tasks too, and with them their processes


def _tasks(work: Sequence[Work]) -> Iterator[Done | None]:
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
            yield Done(folder=running.pop(reference).folder, why=_outcome(reference))
        yield None


def threads(nodes: Sequence[Mapping[str, float]], cells: int) -> int:
    """Cores of a cell: the cluster's by the number of cells, at most those of the smallest node."""
    cores = [node["CPU"] for node in nodes if node.get("CPU")]
    return max(1, int(min(sum(cores) // cells, *cores)))


def needs(work: Work, nodes: Sequence[Mapping[str, float]], cells: int) -> dict[str, Any]:
    """What Ray must set aside for a cell: no more than the smallest node has, or it would wait for ever."""
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
    """Run a cell on the node that Ray chose; gives why it failed, or None."""
    missing = [path for path in (cwd, folder, *paths) if not Path(cwd, path).exists()]
    if missing:
        node = ray.util.get_node_ip_address()
        return {
            "what": f"the node {node} does not see {', '.join(missing)}",
            "hint": "put --out, data and weights where every node sees them under the same path",
            "exit_code": 3,
        }
    return failure(Path(folder), launch(Path(folder), threads, Path(cwd)).wait())


def _paths(work: Work) -> list[str]:
    """Files that a cell reads, as its recipe names them; the weights that ship come with the project."""
    named = (*work.recipe.data, work.recipe.teacher, work.recipe.student.init)
    return [path for path in named if path and path not in {"student", "teacher"}]


def _outcome(reference: Any) -> Mapping[str, Any] | None:
    try:
        why: Mapping[str, Any] | None = ray.get(reference)
    except ray.exceptions.RayError as error:
        return {
            "what": f"Ray gave up: {str(error).splitlines()[0]}",
            "hint": "`ray status` shows the nodes; the same command goes on with what is left",
            "exit_code": 5,
        }
    return why
