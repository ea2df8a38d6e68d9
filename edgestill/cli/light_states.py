"""Train the light-state classifier.

python -m edgestill.cli.light_states --data DATA.yaml --out FILE.onnx

Data sets have the classes red, yellow, green and off. Scores on the test split are printed as JSON. With
``--leave-out SOURCE`` the heads of a source are left out of training and validation, and scored alone.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from distill.light_states.fit import Settings, fit_temperature, logits, train
from distill.light_states.labelled_heads import Head, read_heads
from distill.light_states.light_state_net import LightStateNet, folded_weights
from distill.light_states.scores import score
from edgestill.dataset import Dataset
from edgestill.files import refuse_overwrite, write_bytes
from export.graph.light_states import build_light_states


def fit(
    datasets: Sequence[Dataset], settings: Settings, without: Sequence[str]
) -> tuple[LightStateNet, float]:
    """Train on the training splits and find the temperature on the validation splits."""
    network = train(read_heads(datasets, "train", without=without), settings)
    held = read_heads(datasets, "val", without=without)
    return network, fit_temperature(logits(network, held), torch.tensor([head.state for head in held]))


def scores_of(network: LightStateNet, temperature: float, heads: Sequence[Head]) -> dict[str, Any]:
    """Scores of a trained network."""
    probability = torch.softmax(logits(network, heads) / temperature, dim=1).numpy()
    return score(heads, probability)


def main(words: Sequence[str] | None = None) -> int:
    """Train, write the file, print the scores."""
    parser = argparse.ArgumentParser(prog="python -m edgestill.cli.light_states", description=__doc__)
    parser.add_argument("--data", action="append", required=True, type=Path, metavar="DATA.yaml")
    parser.add_argument("--out", type=Path, metavar="FILE.onnx", help="where the classifier is written")
    parser.add_argument("--leave-out", action="append", default=[], metavar="SOURCE")
    parser.add_argument("--epochs", type=int, default=Settings().epochs)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--force", action="store_true", help="replace an existing file")
    args = parser.parse_args(words)
    if args.out:
        refuse_overwrite(args.out, force=args.force)
    datasets = [Dataset.open(path) for path in args.data]
    network, temperature = fit(datasets, Settings(epochs=args.epochs, seed=args.seed), args.leave_out)
    held = read_heads(datasets, "test")
    result: dict[str, Any] = {
        "temperature": round(temperature, 3),
        "test": scores_of(network, temperature, held),
    }
    if args.leave_out:
        unseen = [
            head
            for split in ("train", "val", "test")
            for head in read_heads(datasets, split)
            if head.source in args.leave_out
        ]
        result["left_out"] = scores_of(network, temperature, unseen)
    if args.out:
        write_bytes(
            args.out,
            build_light_states(folded_weights(network, temperature)).SerializeToString(deterministic=True),
        )
        result["files"] = [str(args.out)]
    json.dump(result, sys.stdout, indent=2)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
