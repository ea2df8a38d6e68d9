"""Writes an OpenVINO file with a raw YOLOv5 output as one that the ultralytics package opens, too.

``python -m benchmarks.peers.ultralytics_file FILE.xml DIR_openvino_model``

The output ``[1, A, 5 + nc]`` becomes ``[1, 4 + nc, A]``: scores are objectness times class probability.
Layers, precision and boxes stay. The package knows a folder by the end of its name.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import openvino as ov
import yaml
from openvino import opset13 as ops

from edgestill.errors import ArtifactError, ToolchainError, UsageError
from runtime.detector import open_detector

FOLDER_END = "_openvino_model"


def write_ultralytics_file(path: Path, folder: Path) -> Path:
    """Write the file, and the ``metadata.yaml`` that `yolo export` writes beside it.

    Args:
        path: An ``.xml`` of ``edgestill export --output raw``, with anchors.
        folder: The new folder, with a name that ends in ``_openvino_model``.

    Returns:
        The ``.xml`` in the folder.

    Raises:
        ArtifactError: The file has another output.
        UsageError: The folder exists, or has another name.
    """
    if folder.exists() or not folder.name.endswith(FOLDER_END):
        what = f"{folder} exists already" if folder.exists() else f"{folder} does not end in {FOLDER_END}"
        raise UsageError(what, hint=f"give a new folder, e.g. model{FOLDER_END}")
    with closing(open_detector(path, backend="ov")) as detector:
        spec = detector.spec
    model = ov.Core().read_model(path)
    if spec.layout != "yolov5" or len(model.outputs) != 1:
        raise ArtifactError(f"{path} has the layout {spec.layout}", hint="export it with --output raw")
    rows = model.output(0).get_node().input_value(0)
    boxes, objectness, classes = ops.variadic_split(rows, np.int64(2), np.array([4, 1, spec.nc])).outputs()
    scores = ops.multiply(classes, objectness)
    output = ops.transpose(ops.concat([boxes, scores.output(0)], 2), np.array([0, 2, 1]))
    output.output(0).get_tensor().set_names({"output0"})
    folder.mkdir(parents=True)
    written = folder / path.name
    named = ov.Model([ops.result(output)], model.get_parameters(), spec.name)
    ov.save_model(named, written, compress_to_fp16=False)
    metadata = {
        "task": "detect",
        "batch": 1,
        "imgsz": list(spec.input_hw),
        "stride": max(spec.strides),
        "channels": 3,
        "end2end": False,
        "names": dict(enumerate(spec.classes)),
        "args": {"batch": 1, "dynamic": False, "nms": False},
    }
    (folder / "metadata.yaml").write_text(yaml.safe_dump(metadata, sort_keys=False), "utf-8")
    return written


def main(argv: Sequence[str] | None = None) -> int:
    """Print the path of the new file; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers.ultralytics_file", description=__doc__)
    parser.add_argument("model", type=Path, metavar="FILE.xml")
    parser.add_argument("folder", type=Path, metavar=f"NAME{FOLDER_END}")
    args = parser.parse_args(argv)
    try:
        print(write_ultralytics_file(args.model, args.folder))
    except ToolchainError as error:
        print(f"benchmarks.peers.ultralytics_file: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
