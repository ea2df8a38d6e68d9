"""Run in a process with NVIDIA's bindings of one version: prints their surface and tries edgestill's code.

The libraries behind the bindings are stubs that create nothing, so edgestill must report that TensorRT does
not start. Its logger and its progress monitor are subclasses of the bindings' classes, and work without a
library.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import tensorrt_bindings

from edgestill.errors import DeviceError
from export.tensorrt import builder
from export.tensorrt.options import EngineOptions
from runtime.tensorrt.library import Library, load_library
from tests.tensorrt_bindings.surface import read_bindings, to_json


def main() -> None:
    """Print the version, the surface and what went wrong as JSON."""
    sys.modules["tensorrt"] = tensorrt_bindings  # ``tensorrt`` is these bindings under another name
    library = load_library("tensorrt")
    answer = {
        "version": library.version,
        "surface": to_json(read_bindings(tensorrt_bindings)),
        "problems": list(_problems(library)),
    }
    print(json.dumps(answer))


def _problems(library: Library) -> Iterator[str]:
    trt = library.module
    log = trt.Logger(trt.Logger.ERROR)
    starts: dict[str, Callable[[], Any]] = {
        "build": lambda: builder.build(library, b"", "fp32", EngineOptions()),
        "load": lambda: library.create("the runtime", trt.Runtime, log, said=lambda: ""),
    }
    for name, start in starts.items():
        said = _error_of(start)
        if "does not start" not in said:
            yield f"{name} without a library: {said}"
    flags = builder._network_flags(trt)
    if flags < 1 or flags.bit_count() != 1:
        yield f"the network's flags are {flags}"
    told: list[tuple[Any, ...]] = []
    config = SimpleNamespace()
    builder._watch(trt, config, lambda *event: told.append(event))
    if hasattr(config, "progress_monitor"):
        config.progress_monitor.phase_start("Building", None, 2)
        if not config.progress_monitor.step_complete("Building", 0) or len(told) != 2:
            yield f"the progress monitor reports {told}"


def _error_of(start: Callable[[], Any]) -> str:
    try:
        start()
    except DeviceError as error:
        return error.what
    return "no error"


if __name__ == "__main__":
    warnings.simplefilter("error")
    main()
