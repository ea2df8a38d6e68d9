"""Writes a small network in every form and prints the SHA-256 of each file; ``test_same_bytes`` runs it.

Its words are a folder and the heads, all of them if none is named.

It is a process of its own, since what depends on the order of a set differs between processes only.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from conftest import random_weights

from edgestill.checkpoint import Checkpoint
from edgestill.files import sha256_file
from edgestill.spec import ModelSpec
from export.artifact import parts, write_graph
from export.graph.detector_graph import DetectorGraph
from export.graph.interface import Interface
from export.graph.yolov5 import build_onnx
from export.job import INT8_SETTINGS, SUFFIX, Job
from export.quantize.calibration.observer import TensorStatistics, observe
from export.quantize.fp16 import to_fp16
from export.quantize.int8 import make_int8

COUPLED = ModelSpec(name="yolov5n", input_hw=(32, 64), classes=("red", "green"))
SPECS = {
    "coupled": COUPLED,
    "decoupled": replace(COUPLED, head="decoupled"),
    "dfl": replace(COUPLED, head="dfl", anchors_px=(), layout="yolov8"),
}
SHAPES: dict[str, dict[str, Any]] = {
    "one": {},
    "batch": {"batch": 3},
    "free-batch": {"batch": None},
    "free-size": {"free_hw": True},
    "free-both": {"batch": None, "free_hw": True},
}
FORMS = {
    f"{output}-{pixels}-{shape}": Interface(output=output, pixels=pixels, **SHAPES[shape])  # type: ignore[arg-type]
    for output, pixels, shape in itertools.product(("raw", "compact"), ("float32", "uint8"), SHAPES)
}
KINDS = [*itertools.product(("onnx", "openvino"), ("fp32", "fp16", "int8")), ("tensorrt", "int8")]
STEP = 6  # each kind of file of each head has every sixth form, from another one on


def cases() -> Iterator[tuple[str, str, str, str]]:
    """Head, target, precision and form; the forms take turns, so that each meets most of the others."""
    for i, (head, (target, precision)) in enumerate(itertools.product(SPECS, KINDS)):
        for form in list(FORMS)[i % STEP :: STEP]:
            if not (FORMS[form].is_free and (target, precision) == ("openvino", "int8")):
                yield head, target, precision, form


def write_all(out: Path, heads: Collection[str]) -> dict[str, str]:
    """SHA-256 by case and file."""
    weights = {head: random_weights(SPECS[head], seed=1) for head in heads}
    sources = {head: build_onnx(SPECS[head], weights[head]) for head in heads}
    statistics = {head: _gathered(SPECS[head], sources[head]) for head in heads}
    made: dict[tuple[str, str, str], Any] = {}
    digests = {}
    for head, target, precision, form in cases():
        if head not in heads:
            continue
        spec = SPECS[head]
        if (head, target, precision) not in made:
            made[head, target, precision] = _model(spec, sources[head], statistics[head], target, precision)
        checkpoint = Checkpoint(spec=spec, weights=weights[head], sha256="0" * 64)
        kind: Any = "onnx" if target == "tensorrt" else target  # of an engine it is its graph
        job = Job(checkpoint=checkpoint, target=kind, precision=precision, interface=FORMS[form])  # type: ignore[arg-type]
        folder = out / f"{head}-{target}-{precision}-{form}"
        folder.mkdir()
        path = folder / f"m{SUFFIX[kind]}"
        write_graph(made[head, target, precision], job, path)
        digests |= {f"{folder.name}/{part.name}": sha256_file(part) for part in parts(path)}
    return digests


def _gathered(spec: ModelSpec, source: Any) -> TensorStatistics:
    graph = DetectorGraph(source, spec.scale)
    feed = np.random.default_rng(0).random((1, 3, *spec.input_hw), dtype=np.float32)
    return observe(
        source, [feed], histograms=graph.observed_tensors(), means=graph.convolution_inputs(), threads=1
    )


def _model(spec: ModelSpec, source: Any, seen: TensorStatistics, target: Any, precision: str) -> Any:
    if precision == "fp16" and target != "openvino":
        return to_fp16(DetectorGraph(source, spec.scale), {}).model
    if precision != "int8":
        return source
    return make_int8(DetectorGraph(source, spec.scale), seen, INT8_SETTINGS[target])[0]


if __name__ == "__main__":
    print(json.dumps(write_all(Path(sys.argv[1]), sys.argv[2:] or list(SPECS))))
