"""Records a model beside itself, for the tests of verdicts, and packs recordings into one file.

``python -m tests.benchmarks.statistics.record_noise take MODEL --source FRAME.jpg --pairs 3 --out R.json``
records pairs of fresh processes; ``--undisturbed`` keeps only the frames during which the kernel did not take
the core away. ``... pack NOISE.npz quiet=R.json busy=S.json`` packs them, and results of ``bench A A
--processes N``; files of one name are joined.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.arms import processes
from benchmarks.measure.collect import TURN, Settings
from benchmarks.measure.footage import Footage
from benchmarks.measure.samples import STAGES
from benchmarks.statistics.compare import rounds_of
from benchmarks.statistics.process_ratio import by_process, process_of_rounds
from runtime.tiling import Tiling

NOISE = Path(__file__).with_name("noise.npz")
UNDISTURBED = "tests.benchmarks.statistics.undisturbed_worker"
COMPUTED = STAGES[1:]  # decoding is done before the frame is known to be undisturbed


def take(model: Path, source: str | None, *, pairs: int, rounds: int, undisturbed: bool) -> dict[str, Any]:
    """Measure a model beside itself; a result with the samples alone."""
    processes.WORKER = UNDISTURBED if undisturbed else processes.WORKER
    settings = Settings(
        source=source,
        duration_s=0.0,
        min_samples=pairs * rounds * (1 if undisturbed else TURN),
        warmup_s=0.5,
        threads=1,
        processes=pairs,
    )
    arms = [processes.Arm(builds=(model,), tiling=Tiling())] * 2
    taken = processes.collect_in_processes(arms, Footage(source), settings, lambda: None)
    return {
        "models": [
            {"name": "ab"[k], "samples_ms": t.stages_ms, "rounds": t.rounds, "processes": t.processes}
            for k, t in enumerate(taken)
        ]
    }


def blocks_of(result: Mapping[str, Any]) -> NDArray[np.float32]:
    """Milliseconds from decoded frame to boxes, ``[pairs of processes, 2 arms, rounds, frames]``."""
    arms = [by_process(rounds_of(model, COMPUTED), process_of_rounds(model)) for model in result["models"]]
    fewest = min(len(rounds) for arm in arms for rounds in arm)
    cut = [[np.stack(rounds[:fewest]) for rounds in arm] for arm in arms]
    return np.asarray(cut, np.float32).transpose(1, 0, 2, 3)


def pack(out: Path, named: Sequence[str]) -> None:
    """Write recordings, given as ``NAME=FILE``, into one file."""
    found: dict[str, list[NDArray[np.float32]]] = {}
    for word in named:
        name, _, path = word.partition("=")
        found.setdefault(name, []).append(blocks_of(json.loads(Path(path).read_text("utf-8"))))
    joined: dict[str, Any] = {}
    for name, blocks in found.items():
        fewest = min(block.shape[2] for block in blocks)
        joined[name] = np.concatenate([block[:, :, :fewest] for block in blocks])
    np.savez_compressed(out, **joined)


def main() -> None:
    """Record or pack, as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    taking = verbs.add_parser("take")
    taking.add_argument("model", type=Path)
    taking.add_argument("--source")
    taking.add_argument("--pairs", type=int, default=3)
    taking.add_argument("--rounds", type=int, default=10, help="60 for undisturbed ones, of one frame")
    taking.add_argument("--undisturbed", action="store_true")
    taking.add_argument("--out", type=Path, required=True)
    packing = verbs.add_parser("pack")
    packing.add_argument("out", type=Path)
    packing.add_argument("named", nargs="+", metavar="NAME=FILE")
    args = parser.parse_args()
    if args.verb == "pack":
        pack(args.out, args.named)
        return
    found = take(args.model, args.source, pairs=args.pairs, rounds=args.rounds, undisturbed=args.undisturbed)
    args.out.write_text(json.dumps(found), "utf-8")


if __name__ == "__main__":
    main()
