"""The engine flags of ``edgestill export``."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING

from edgestill.cli.options.sizes import input_hw
from edgestill.errors import UsageError

if TYPE_CHECKING:
    from export.tensorrt.options import EngineOptions

_FLAGS = (
    "workspace_mib",
    "build_memory_mib",
    "device",
    "dla",
    "hardware",
    "version_compatible",
    "compute_capability",
    "profile_batch",
    "profile_size",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add = parser.add_argument_group("TensorRT engines").add_argument
    add(
        "--workspace-mib",
        type=int,
        metavar="MIB",
        help="GPU memory for the scratch space of a layer (default 1024)",
    )
    add(
        "--build-memory-mib",
        metavar="MIB",
        help="memory limit of the builder, or none (default: 80%% of free)",
    )
    add(
        "--device",
        metavar="cuda[:N]",
        help="the GPU to build and compare on, by its number (default cuda:0); tensorrt only",
    )
    add("--dla", type=int, metavar="CORE", help="build for a DLA core; unsupported layers run on the GPU")
    add(
        "--hardware",
        choices=["this", "same-capability", "ampere-plus"],
        help="GPUs that can run the engine (default this; the others are slower, and not for a Jetson)",
    )
    add("--version-compatible", action="store_true", help="allow later TensorRT versions to run it (slower)")
    add(
        "--compute-capability",
        metavar="CC[,CC]",
        help="tensorrt-rtx: GPUs, e.g. 8.6,8.9 (default 8.0,8.6,8.9,12.0)",
    )
    add(
        "--profile-batch",
        metavar="LEAST,BEST,MOST",
        help="batch sizes with --dynamic batch: smallest, optimal, largest (default 1,1,8)",
    )
    add(
        "--profile-size",
        metavar="HxW,HxW,HxW",
        help="sizes with --dynamic size: smallest, optimal, largest (default: 0.5, 1 and 1.5 of --imgsz)",
    )


def read(args: argparse.Namespace) -> EngineOptions:
    """The engine options.

    Raises:
        UsageError: A flag has an invalid value, or the target is no engine.
    """
    from export.tensorrt.options import EngineOptions  # noqa: PLC0415 (not needed for --help)

    given = {n: v for n in _FLAGS if (v := getattr(args, n)) is not None and v is not False}
    if given and not args.to.startswith("tensorrt"):
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise UsageError(f"{flags}: only for engines", hint="leave it out, or --to tensorrt")
    names = {
        "build_memory_mib": "memory_mib",
        "dla": "dla_core",
        "profile_batch": "batches",
        "profile_size": "sizes",
    }
    options = {names.get(name, name): value for name, value in given.items()}
    if "memory_mib" in options:
        options["memory_mib"] = _memory_mib(options["memory_mib"])
    if "device" in options:
        options["device"] = _device(options["device"])
    if "compute_capability" in options:
        options["capabilities"] = tuple(options.pop("compute_capability").split(","))
    if "batches" in options:
        options["batches"] = _numbers(options["batches"])
    if "sizes" in options:
        options["sizes"] = tuple(input_hw(size, "--profile-size") for size in options["sizes"].split(","))
    return EngineOptions(**options)


def _memory_mib(text: str) -> int:
    from export.tensorrt.options import NO_LIMIT  # noqa: PLC0415

    if text == "none":
        return NO_LIMIT
    if not re.fullmatch("[1-9][0-9]{0,8}", text):
        raise UsageError(
            f"--build-memory-mib {text} is no number of MiB", hint="e.g. --build-memory-mib 4096, or none"
        )
    return int(text)


def _device(text: str) -> int:
    from runtime.tensorrt.cuda_driver import device_index  # noqa: PLC0415

    index = device_index(text)
    if index is None:
        raise UsageError(f"--device {text} is no GPU for an engine", hint="e.g. --device cuda:1")
    return index


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError as error:
        raise UsageError(
            f"--profile-batch {text} is not numbers", hint="e.g. --profile-batch 1,4,8"
        ) from error
