"""Packs results of comparisons of a model with itself into the noise that the tests draw from.

``edgestill bench student student --processes 14 --min-samples 560 --duration-s 0 --threads 1 --out R.json``
records one; ``python -m tests.benchmarks.statistics.record_noise FILE.npz quiet=R.json busy=S.json`` packs
them. Results of one name are joined.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.statistics.compare import MEASURES, rounds_of
from benchmarks.statistics.process_ratio import by_process, process_of_rounds

NOISE = Path(__file__).with_name("noise.npz")


def blocks_of(result: Mapping[str, Any]) -> NDArray[np.float32]:
    """Milliseconds of whole frames, ``[pairs of processes, 2 arms, rounds, frames of a round]``."""
    arms = []
    for model in result["models"]:
        rounds = rounds_of(model, MEASURES["frame"])
        arms.append(by_process(rounds, process_of_rounds(model)))
    fewest = min(len(rounds) for arm in arms for rounds in arm)
    cut = [[np.stack(rounds[:fewest]) for rounds in arm] for arm in arms]
    return np.asarray(cut, np.float32).transpose(1, 0, 2, 3)


def main(argv: Sequence[str]) -> None:
    """Write the file that the command line names."""
    found: dict[str, list[NDArray[np.float32]]] = {}
    for word in argv[1:]:
        name, _, path = word.partition("=")
        found.setdefault(name, []).append(blocks_of(json.loads(Path(path).read_text("utf-8"))))
    joined = {}
    for name, blocks in found.items():
        fewest = min(block.shape[2] for block in blocks)
        joined[name] = np.concatenate([block[:, :, :fewest] for block in blocks])
    np.savez_compressed(argv[0], **joined)


if __name__ == "__main__":
    main(sys.argv[1:])
