"""Verify or build the models of an installed bundle, on the device: ``sh run.sh verify`` and ``build``.

python -m edgestill.cli.bundled_models {verify,build} FOLDER [NAME...]

The result is printed as JSON. Exit code 6: outputs differ from the stored ones by more than the limits.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgestill.errors import ToolchainError, UsageError, VerificationError, unknown_name
from edgestill.files import read_json, to_json_text

if TYPE_CHECKING:
    from export.bundle.contents import BundledModel


def main(words: Sequence[str] | None = None) -> int:
    """Run a verb on the folder of a bundle; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m edgestill.cli.bundled_models", description=__doc__)
    parser.add_argument("verb", choices=["verify", "build"])
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("names", nargs="*", metavar="NAME", help="models of the bundle (default: all)")
    args = parser.parse_args(words)
    try:
        models = _models(args.folder, args.names)
        result = {"verify": verify, "build": build}[args.verb](args.folder, models)
        print(to_json_text(result))
        _refuse_failures(result)
    except ToolchainError as error:
        print(f"run.sh {args.verb}: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def verify(folder: Path, models: Sequence[BundledModel]) -> dict[str, Any]:
    """Run each model, and each engine that was built of one, on the stored inputs."""
    from export.bundle.parity import check_parity  # noqa: PLC0415
    from runtime.detector import open_detector  # noqa: PLC0415

    found = []
    for model in models:
        for path in (folder / model.file, *_engines(folder, model)):
            # One thread adds up in the same order everywhere, and asks for no core that a container lacks.
            with closing(open_detector(path, threads=1)) as detector:
                parity = check_parity(detector, folder / model.parity, model.limits)
            found.append(_entry(model, path, parity))
    return {"kind": "bundle-verify", "folder": str(folder), "models": found}


def build(folder: Path, models: Sequence[BundledModel]) -> dict[str, Any]:
    """Build a TensorRT engine of each ONNX model."""
    from export.bundle.engines import build_engine  # noqa: PLC0415 (brings onnx)

    graphs = [model for model in models if model.file.endswith(".onnx")]
    if not graphs:
        raise UsageError("there is no .onnx file to build an engine of", hint="name a model of the bundle")
    found = []
    for model in graphs:
        made, parity = build_engine(folder, model)
        entry = _entry(model, made.files[0], parity)
        found.append({**entry, "precision_proved": made.record.precision_proved, "doubts": list(made.doubts)})
    return {"kind": "bundle-build", "folder": str(folder), "models": found}


def _refuse_failures(result: dict[str, Any]) -> None:
    failed = [f"{one['file']}: {'; '.join(one['failures'])}" for one in result["models"] if one["failures"]]
    if failed:
        raise VerificationError(
            " - ".join(failed), hint="`sh run.sh edgestill doctor` checks the libraries on this device"
        )


def _models(folder: Path, names: Sequence[str]) -> list[BundledModel]:
    from export.bundle.contents import INDEX, BundleIndex  # noqa: PLC0415

    index = BundleIndex.from_json(read_json(folder / INDEX, hint="name the folder of an unpacked bundle"))
    by_name = {model.name: model for model in index.models}
    if unknown := [name for name in names if name not in by_name]:
        raise unknown_name("model of the bundle", unknown[0], by_name)
    return [by_name[name] for name in names or by_name]


def _engines(folder: Path, model: BundledModel) -> list[Path]:
    from export.bundle.contents import ENGINES, INSTALLED  # noqa: PLC0415

    path = folder / INSTALLED / ENGINES / f"{model.name}.trt.engine"
    return [path] if path.exists() else []


def _entry(model: BundledModel, path: Path, parity: Any) -> dict[str, Any]:
    return {
        "name": model.name,
        "file": str(path),
        "precision": model.precision,
        **asdict(parity),
        "failures": list(parity.failures),
    }


if __name__ == "__main__":
    sys.exit(main())
