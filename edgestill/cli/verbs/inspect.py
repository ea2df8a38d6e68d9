"""``edgestill inspect``: what a model file is."""

from __future__ import annotations

import argparse
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

SUMMARY = "Show a model file's spec, manifest, tensors, hashes, and layers by precision"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("file", metavar="FILE", help=".onnx, OpenVINO .xml, checkpoint folder, or `student`")
    parser.add_argument("--backend", default="auto", help="ort, ov, or auto (by the file; default)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Open the file as the runtime does, and tell all about it."""
    from edgestill.cli.models import checkpoint_folder  # noqa: PLC0415

    path = checkpoint_folder(args.file)
    return _checkpoint(path) if path.is_dir() else _model(path, args.backend)


def show(result: dict[str, Any]) -> Any:
    """Key and value rows; the nested ones as JSON."""
    from rich.table import Table  # noqa: PLC0415 (only a person needs it)

    from edgestill.files import to_json_text  # noqa: PLC0415

    table = Table("", "", title=str(result["file"]), show_header=False)
    for key, value in result.items():
        table.add_row(key, value if isinstance(value, str) else to_json_text(value, indent=None))
    return table


def _checkpoint(folder: Path) -> dict[str, Any]:
    from edgestill.checkpoint import read_checkpoint  # noqa: PLC0415

    checkpoint = read_checkpoint(folder)
    return {
        "kind": "inspect",
        "file": str(folder),
        "format": "checkpoint",
        "sha256": checkpoint.sha256,
        "spec": checkpoint.spec.to_json(),
        "tensors": len(checkpoint.weights),
        "parameters": sum(w.size for n, w in checkpoint.weights.items() if n.endswith(("weight", "bias"))),
        "about": dict(checkpoint.about),
    }


def _model(path: Path, backend: str) -> dict[str, Any]:
    from edgestill.files import sha256_file  # noqa: PLC0415
    from edgestill.manifest import check_files, read_manifest  # noqa: PLC0415
    from export.precision import stored_elements  # noqa: PLC0415
    from runtime.detector import open_detector  # noqa: PLC0415

    with closing(open_detector(path, backend=backend)) as detector:
        manifest = read_manifest(path)
        if manifest:
            check_files(path, manifest)
        return {
            "kind": "inspect",
            "file": str(path),
            "format": path.suffix.lstrip("."),
            "sha256": sha256_file(path),
            "spec": detector.spec.to_json(),
            "inputs": [asdict(t) for t in detector.backend.inputs],
            "outputs": [asdict(t) for t in detector.backend.outputs],
            "metadata": dict(detector.backend.metadata),
            "layers_executed": detector.backend.layers_by_dtype(),
            "elements_stored": stored_elements(path),
            "manifest": None if manifest is None else asdict(manifest),
        }
