"""``edgestill inspect``: the contents of a model file or a checkpoint; its lint findings."""

from __future__ import annotations

import argparse
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgestill.cli.options import backend
from edgestill.errors import ArtifactError, UsageError, VerificationError
from export.lint.linter import LINT_NAMES

if TYPE_CHECKING:
    from edgestill.spec import ModelSpec
    from runtime.backend import Backend
    from runtime.file_reading import Reading

SUMMARY = "Show a model file's spec, manifest, tensors, hashes and layers by precision; lint an .onnx"
EXAMPLE = "edgestill inspect student.onnx --lint --for tensorrt"
FINDINGS_SHOWN = 3  # per rule, in the table; the JSON has all


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("file", metavar="FILE", help=f"{backend.MODEL}; `light-states`")
    backend.add_arguments(parser, threads=False)
    parser.add_argument(
        "--layers", action="store_true", help="list every layer of a TensorRT .engine with its data type"
    )
    parser.add_argument(
        "--lint",
        action="store_true",
        help="check an .onnx of any exporter against the rules for quantised models, without running it",
    )
    parser.add_argument(
        "--for",
        dest="target",
        choices=[*LINT_NAMES.values()],
        help="with --lint: rules of this engine only; exit 6 if one of them is broken as an error",
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Open the file as the runtime does and describe it; ``--lint`` only reads it."""
    from edgestill.shipped import checkpoint_folder  # noqa: PLC0415
    from export.model_file import resolve  # noqa: PLC0415

    if args.lint:
        return _lint(resolve(args.file), args.target)
    if args.target:
        raise UsageError("--for says for whom to --lint", hint="add --lint")
    path = checkpoint_folder(args.file)
    return _checkpoint(path) if path.is_dir() else _model(path, args)


def verdict(result: dict[str, Any]) -> None:
    """Raise VerificationError, after the result was printed, if errors were found for who was asked for."""
    target = result.get("for")
    if target and (errors := result["errors"][target]):
        raise VerificationError(
            f"{result['file']} has {errors} error{'' if errors == 1 else 's'} for {target}",
            hint="each finding names its remedy; `edgestill export` writes files without them",
        )


def show(result: dict[str, Any]) -> Any:
    """Rows of keys and values, nested ones as JSON; for ``--lint``, the findings by rule."""
    from rich.table import Table  # noqa: PLC0415 (for the terminal only)

    from edgestill.files import to_json_text  # noqa: PLC0415

    if result["kind"] == "lint":
        return _show_lint(result)
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
        "weights_licence": checkpoint.about.get("weights_licence"),
        "about": dict(checkpoint.about),
    }


def _model(path: Path, args: argparse.Namespace) -> dict[str, Any]:
    from edgestill.files import sha256_file  # noqa: PLC0415
    from edgestill.manifest import read_manifest  # noqa: PLC0415
    from export.verify.precision_proof import stored_elements  # noqa: PLC0415
    from runtime.backend import open_backend  # noqa: PLC0415

    options = {"device": args.device, "trust_engine": args.trust_engine}
    with closing(open_backend(path, args.backend, **options)) as backend:
        manifest = read_manifest(path)
        layers = {"layers": _layers(path, backend)} if args.layers else {}
        return {
            "kind": "inspect",
            "file": str(path),
            "format": path.suffix.lstrip("."),
            "sha256": sha256_file(path),
            **_network(path, backend),
            "metadata": dict(backend.metadata),
            "layers_executed": backend.layers_by_dtype(),
            **layers,
            "elements_stored": stored_elements(path),
            "manifest": None if manifest is None else asdict(manifest),
        }


def _layers(path: Path, backend: Backend) -> list[dict[str, Any]]:
    """The layers of an engine in their order."""
    if backend.name != "trt":
        raise UsageError(f"--layers lists those of a TensorRT engine, {path} is none", hint="leave it out")
    from runtime.backends.trt import TrtBackend  # noqa: PLC0415 (TensorRT is there)

    assert isinstance(backend, TrtBackend)
    return [asdict(layer) for layer in backend.layers().layers]


def _network(path: Path, backend: Backend) -> dict[str, Any]:
    """What kind of network a loaded file holds, and its tensors."""
    from edgestill.spec import LIGHT_STATES_KEY  # noqa: PLC0415
    from runtime.detector import read_detector  # noqa: PLC0415
    from runtime.light_states.classifier import SPEC, check_classifier  # noqa: PLC0415

    tensors = {
        "inputs": [asdict(t) for t in backend.inputs],
        "outputs": [asdict(t) for t in backend.outputs],
    }
    if LIGHT_STATES_KEY in backend.metadata:
        check_classifier(path, backend)
        free = ["batch"] * (backend.inputs[0].shape[0] is None)
        return {"network": "classifier of light states", "spec": asdict(SPEC), **tensors, "free": free}
    reading, spec = read_detector(path, backend)
    return {
        "network": "detector",
        "spec": spec.to_json(),
        "reading": _reading(reading),
        **tensors,
        "free": _free(spec, backend),
    }


def _reading(reading: Reading) -> dict[str, Any]:
    """What the file says about itself, and what its layout was told by; null where it does not say."""
    return {
        "layout": reading.spec.layout,
        "because": reading.why,
        "task": reading.task,
        "end2end": reading.end2end,
        "nms": reading.nms,
        "notes": list(reading.notes),
    }


def _free(spec: ModelSpec, backend: Backend) -> list[str]:
    """The axes of the input without a fixed size; the spec has the sizes that are used by default."""
    axes = (
        ("batch", "height", "width", None) if spec.pixels == "uint8" else ("batch", None, "height", "width")
    )
    sides = backend.inputs[0].shape
    return [axis for axis, side in zip(axes, sides, strict=True) if axis and side is None]


def _lint(path: Path, wanted: str | None) -> dict[str, Any]:
    from edgestill.files import sha256_file  # noqa: PLC0415
    from edgestill.manifest import checked_manifest  # noqa: PLC0415
    from export.lint.linter import lint, read, rules  # noqa: PLC0415

    if path.suffix in {".xml", ".engine"}:
        raise ArtifactError(
            f"{path} is not an .onnx file; the lint rules apply to ONNX graphs",
            hint="lint the .onnx file that it was built from",
        )
    checked_manifest(path)
    names = {target: name for target, name in LINT_NAMES.items() if wanted in {None, name}}
    graph = read(path)
    found = list(lint(graph, names))
    return {
        "kind": "lint",
        "file": str(path),
        "sha256": sha256_file(path),
        "producer": f"{graph.model.producer_name} {graph.model.producer_version}".strip(),
        "opset": graph.opset,
        "forms": graph.forms,
        "convolutions": len(graph.convolutions),
        "convolutions_in_bytes": sum(map(graph.computes_int8, graph.convolutions)),
        "for": wanted,
        "rules": [rule.id for rule in rules() if names.keys() & rule.severities.keys()],
        "errors": {
            name: sum(p.severities.get(target) == "error" for p in found) for target, name in names.items()
        },
        "findings": [
            {
                "rule": violation.rule.id,
                "severity": {names[target]: level for target, level in violation.severities.items()},
                "node": violation.finding.node,
                "what": violation.finding.what,
                "remedy": violation.rule.remedy,
            }
            for violation in found
        ],
    }


def _show_lint(result: dict[str, Any]) -> Any:
    from rich.table import Table  # noqa: PLC0415

    errors = ", ".join(f"{family} {count}" for family, count in result["errors"].items())
    form = " and ".join(result["forms"]) or "float"
    title = f"{result['file']} - quantisation: {form} - errors: {errors}"
    table = Table("rule", "for", "where", "remedy", title=title, show_lines=True)
    by_rule: dict[str, list[dict[str, Any]]] = {}
    for finding in result["findings"]:
        by_rule.setdefault(finding["rule"], []).append(finding)
    for rule, found in by_rule.items():
        places = [f"{f['node']}: {f['what']}" if f["node"] else f["what"] for f in found[:FINDINGS_SHOWN]]
        places += [f"and {len(found) - FINDINGS_SHOWN} more"] * (len(found) > FINDINGS_SHOWN)
        severity = "\n".join(f"{family} {level}" for family, level in found[0]["severity"].items())
        table.add_row(rule, severity, "\n".join(places), found[0]["remedy"])
    return table
