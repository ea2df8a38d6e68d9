"""``edgestill bundle``: models and what they need on a device in one archive; or check such an archive."""

from __future__ import annotations

import argparse
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgestill.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from export.bundle.pack import ModelSource
    from export.bundle.signature import Signers

SUMMARY = "Pack models, wheels and reference outputs for a device without a network; or check such a bundle"
EXAMPLE = "edgestill bundle student.onnx --for jetson-orin-nano --wheels wheels --out student.tar.zst"

#: Rendered for the parity vectors where no images are named; a third of the scenes has a light that is found.
SCENES, SCENE_SEED = 16, 7
MOST_IMAGES = 64  # of --images that are run, spread evenly


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add = parser.add_argument
    add(
        "model",
        nargs="*",
        metavar="MODEL",
        help="one or several of: `student` or `teacher`, a checkpoint folder, .onnx or OpenVINO .xml",
    )
    add("--out", type=Path, metavar="FILE", help="NAME.tar.zst, or NAME.tar for a device without zstd")
    add(
        "--for",
        dest="device",
        metavar="DEVICE",
        help="a key of `edgestill devices`, x86_64 or aarch64 (default: this machine's architecture)",
    )
    add(
        "--python",
        nargs="+",
        metavar="VERSION",
        help="Pythons of the device: 3.10, 3.11, 3.12 (default 3.10 3.12)",
    )
    add(
        "--wheels",
        type=Path,
        metavar="DIR",
        help="folder with the wheels for the device; the error without it prints the commands that fill one",
    )
    add(
        "--images",
        nargs="+",
        type=Path,
        metavar="DIR",
        help="images with objects that the models find, for these outputs (default: rendered streets)",
    )
    add("--sign", type=Path, metavar="KEY_FILE", help="sign with an SSH key, by ssh-keygen")
    add("--force", action="store_true", help="replace an existing file")
    add("--check", type=Path, metavar="BUNDLE", help="read a bundle, check every hash, and say what it holds")
    add(
        "--signers",
        type=Path,
        metavar="FILE",
        help="with --check: an allowed_signers file, see ssh-keygen(1)",
    )
    add("--signer", metavar="NAME", help="with --check: who in it must have signed")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Write a bundle, or check one."""
    signers = _signers(args)
    if args.check is not None:
        return _check(args, signers)
    if not args.model or args.out is None:
        raise UsageError("there is no MODEL and --out, or --check", hint=EXAMPLE)
    from export.bundle.device_platform import platform_of  # noqa: PLC0415
    from export.bundle.pack import write_bundle  # noqa: PLC0415
    from export.bundle.wheels import fill_commands  # noqa: PLC0415

    device = platform_of(args.device or _own_machine(), args.python or ())
    if args.wheels is None:
        raise UsageError(
            "--wheels names the folder with the wheels for the device; nothing is downloaded",
            hint=fill_commands(Path("wheels"), device),
        )
    written = write_bundle(
        [_source(name) for name in args.model],
        args.out,
        device=device,
        wheels=args.wheels,
        images_bgr=_images(args.images),
        key=args.sign,
        force=args.force,
    )
    return {
        "kind": "bundle",
        "files": [str(written.path)],
        "bytes": written.path.stat().st_size,
        "content_sha256": written.sums_sha256,
        "signed": args.sign is not None,
        **_described(written.index),
        "doubts": list(written.doubts),
    }


def show(result: dict[str, Any]) -> Any:
    """A table of the content, and what to type on the device."""
    from rich.table import Table  # noqa: PLC0415 (for the terminal only)

    file = result["files"][0]
    table = Table("", "", title=file, show_header=False)
    table.add_row("size", f"{result['bytes'] / 1e6:.1f} MB")
    table.add_row("content SHA-256", result["content_sha256"])
    table.add_row("signed", result.get("signed_by") or ("yes" if result["signed"] else "no"))
    table.add_row("for", f"{result['device']}, {result['machine']}")
    for python, wheels in result["wheels"].items():
        table.add_row(f"Python {python}", f"{len(wheels)} wheels")
    for model in result["models"]:
        table.add_row(
            model["name"], f"{model['precision']}, {model['detections']} detections in its reference outputs"
        )
    if result["kind"] == "bundle":
        folder = Path(file).name.partition(".")[0]
        flag = "--zstd " if file.endswith(".zst") else ""
        table.add_row("on the device", f"mkdir {folder} && tar {flag}-xf {Path(file).name} -C {folder}")
        table.add_row("", f"sh {folder}/run.sh install && sh {folder}/run.sh verify")
    for doubt in result["doubts"]:
        table.add_row("warning", doubt)
    return table


def _check(args: argparse.Namespace, signers: Signers | None) -> dict[str, Any]:
    """Read a whole bundle and say what it holds."""
    from export.bundle.reading import verify_bundle  # noqa: PLC0415

    if args.model or args.out:
        raise UsageError("--check reads a bundle, MODEL and --out write one", hint="leave one of them out")
    bundle = verify_bundle(args.check, signers=signers)
    return {
        "kind": "bundle-check",
        "files": [str(args.check)],
        "bytes": args.check.stat().st_size,
        "content_sha256": bundle.sums_sha256,
        "signed": bundle.is_signed,
        "signed_by": bundle.signed_by,
        **_described(bundle.index),
        "doubts": [],
    }


def _signers(args: argparse.Namespace) -> Signers | None:
    from export.bundle.signature import Signers  # noqa: PLC0415

    if args.signers is None and args.signer is None:
        return None
    if args.check is None or args.signers is None or args.signer is None:
        raise UsageError("--signers FILE and --signer NAME belong to --check BUNDLE", hint="give all three")
    return Signers(file=args.signers, name=args.signer)


def _described(index: Any) -> dict[str, Any]:
    data = index.to_json()
    return {
        name: data[name] for name in ("edgestill", "device", "machine", "system_packages", "wheels", "models")
    }


def _own_machine() -> str:
    machine = platform.machine().lower()
    return {"arm64": "aarch64", "amd64": "x86_64"}.get(machine, machine)


def _source(name: str) -> ModelSource:
    """The file of a model, and its name in the bundle."""
    from edgestill.cli.options.model import model_file  # noqa: PLC0415
    from export.bundle.pack import ModelSource  # noqa: PLC0415

    path, given = model_file(name), Path(name)
    # A checkpoint became a file of the cache, whose name has a hash: the bundle has the name that was given.
    stem = given.name.removesuffix(".pt") if path != given else path.name.removesuffix(path.suffix)
    return ModelSource(name=stem.removesuffix(".rtx").removesuffix(".trt"), path=path)


def _images(paths: Sequence[Path] | None) -> Iterator[NDArray[np.uint8]]:
    """Images for the parity vectors: some of those that are named, or rendered streets."""
    from edgestill.progress import track  # noqa: PLC0415

    if paths is None:
        from distill.datasets.synth.scene import render  # noqa: PLC0415 (not needed with images)

        for number in track(range(SCENES), "render", SCENES):
            yield render(SCENE_SEED, number).image_bgr
        return
    from edgestill.dataset_files.image_file import read_image  # noqa: PLC0415

    files = [file for path in paths for file in (_images_in(path) if path.is_dir() else [path])]
    if not files:
        raise DataError(f"{paths[0]} has no images", hint="--images takes images and folders of images")
    step = max(len(files) / MOST_IMAGES, 1.0)
    for number in range(min(len(files), MOST_IMAGES)):
        yield read_image(files[int(number * step)])


def _images_in(folder: Path) -> list[Path]:
    """The image files of a folder, not of those below it, as ``run --source`` reads one."""
    from edgestill.dataset_files.image_file import IMAGE_SUFFIXES  # noqa: PLC0415
    from edgestill.dataset_files.image_folder import is_hidden  # noqa: PLC0415

    found = (path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    return sorted(path for path in found if not is_hidden(path.name))
