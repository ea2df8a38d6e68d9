"""The content of an ``.engine`` file: its library, the serialised engine, and the metadata."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgestill.errors import ArtifactError
from edgestill.manifest import Manifest
from edgestill.target import EngineTarget
from runtime.tensorrt.library import Library

REBUILD = "export the model again on this machine"
#: Largest JSON header of an engine of ``yolo export``, which begins with its length (4 bytes) and the text.
ULTRALYTICS_HEADER_MAX = 1 << 20


def engine_library(path: Path, manifest: Manifest | None) -> EngineTarget:
    """The library of the engine: from its manifest, else from its file name."""
    if manifest and manifest.built_on:
        return "tensorrt-rtx" if manifest.built_on["family"] == "tensorrt-rtx" else "tensorrt"
    return "tensorrt-rtx" if path.name.endswith(".rtx.engine") else "tensorrt"


def read_engine(path: Path, manifest: Manifest | None) -> tuple[bytes, dict[str, str]]:
    """The serialised engine and its metadata, from the manifest or from the header of `yolo export`."""
    data = path.read_bytes()
    if manifest:
        return data, manifest.spec.to_metadata()
    length = int.from_bytes(data[:4], "little", signed=True)
    if not 0 < length <= min(ULTRALYTICS_HEADER_MAX, len(data) - 4):
        return data, {}
    try:
        found = json.loads(data[4 : 4 + length])
        if not isinstance(found, dict):
            return data, {}
        about = {str(k): v if isinstance(v, str) else repr(v) for k, v in found.items()}
    except (ValueError, RecursionError):
        return data, {}
    return data[4 + length :], about


def load_engine(library: Library, data: bytes, path: Path, manifest: Manifest | None) -> Any:
    """Deserialise an engine, for the device whose context is current.

    Args:
        library: The TensorRT library.
        data: The serialised engine.
        path: Path of the file, for the message.
        manifest: Manifest of the file.

    Raises:
        ArtifactError: TensorRT cannot load it.
        DeviceError: TensorRT does not start.
    """
    trt = library.module
    logger = trt.Logger(trt.Logger.ERROR)  # prints to stderr itself
    runtime = library.create("the runtime", trt.Runtime, logger, said=lambda: "")
    if manifest and manifest.built_on and "version" in manifest.built_on["portable"]:
        # A version-compatible engine contains the runtime library that loads it.
        runtime.engine_host_code_allowed = True
    engine = runtime.deserialize_cuda_engine(data)
    if engine is None:
        raise ArtifactError(
            f"TensorRT {library.version} cannot load {path}",
            hint=f"it is damaged or was built by another version: {REBUILD}",
        )
    return engine
