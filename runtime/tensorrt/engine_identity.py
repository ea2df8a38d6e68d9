"""Platform and origin of a TensorRT engine: what it was built for, and whether this user built it here.

An engine is native code and runs only with the GPU, driver and TensorRT that it was built for. Its manifest
names these. It also holds an HMAC of the file, whose key is in the user's data folder: by it, an engine of
another user or machine is recognised, and refused unless it is trusted explicitly.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from devices.detect import detect
from edgestill.errors import ArtifactError, DataError
from edgestill.files import sha256_file
from edgestill.manifest import Manifest, read_manifest
from edgestill.target import EngineTarget
from runtime.tensorrt.cuda_driver import GpuFacts

MARK = "mark"
L4T_UNKNOWN = "L4T unknown"  # in a container without /etc/nv_tegra_release
REBUILD = "build it on this machine: edgestill export CKPT --to tensorrt --precision P"
WORDS: Mapping[str, str] = {"gpu": "the GPU", "sms": "multiprocessors", "compute_capability": "capability"}
#: Fields of ``EnginePlatform`` that may differ, by the kind of portability that an engine was built with.
PORTABLE: Mapping[str, tuple[str, ...]] = {
    "version": ("version", "system"),
    "hardware": ("gpu", "compute_capability", "sms"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EnginePlatform:
    """The platform that an engine is built for.

    Attributes:
        family: TensorRT or TensorRT-RTX.
        version: Full version of that library.
        gpu: Name of the GPU; ``"any"`` for an engine built ahead of time, without a GPU.
        compute_capability: That of the GPU; several, separated by spaces, if built ahead of time.
        sms: Number of multiprocessors; 0 if built ahead of time.
        system: Version of the driver or of Jetson Linux; ``"any"`` if built ahead of time.
    """

    family: EngineTarget
    version: str
    gpu: str
    compute_capability: str
    sms: int
    system: str


def this_platform(family: EngineTarget, version: str, gpu: GpuFacts) -> EnginePlatform:
    """The platform of this machine."""
    snapshot = detect()
    if snapshot.jetson:
        system = f"L4T {snapshot.jetson.l4t}" if snapshot.jetson.l4t else L4T_UNKNOWN
    else:
        system = f"driver {next((card.driver for card in snapshot.gpus if card.driver), 'unknown')}"
    return EnginePlatform(
        family=family,
        version=version,
        gpu=gpu.name,
        compute_capability=gpu.compute_capability,
        sms=gpu.sms,
        system=system,
    )


def built_ahead(version: str, capabilities: tuple[str, ...]) -> EnginePlatform:
    """The platform of a TensorRT-RTX engine built without a GPU, for some compute capabilities."""
    return EnginePlatform(
        family="tensorrt-rtx",
        version=version,
        gpu="any",
        compute_capability=" ".join(capabilities),
        sms=0,
        system="any",
    )


def marked(home: EnginePlatform, engine: Path, *, portable: tuple[str, ...] = ()) -> dict[str, Any]:
    """The ``built_on`` of a manifest: the platform, the kinds of portability, and the HMAC of the file."""
    return {**asdict(home), "portable": list(portable), MARK: _mark(sha256_file(engine))}


def trusted_manifest(engine: Path) -> Manifest:
    """The manifest of an engine, if this user built the engine on this machine.

    Raises:
        ArtifactError: There is no manifest, the file does not match it, or another user or machine built it.
    """
    hint = f"{REBUILD}; if you trust its source: --trust-engine"
    try:
        manifest = read_manifest(engine)
    except DataError as error:
        raise ArtifactError(error.what, hint=hint) from error
    if manifest is None or manifest.built_on is None:
        raise ArtifactError(f"{engine} is native code without a manifest that says who built it", hint=hint)
    digest = sha256_file(engine)
    if manifest.files.get(engine.name) != digest:
        raise ArtifactError(f"{engine} is not the file that its manifest describes", hint=hint)
    if not hmac.compare_digest(str(manifest.built_on.get(MARK)), _mark(digest)):
        raise ArtifactError(f"{engine} is native code, and was not built by you on this machine", hint=hint)
    return manifest


def check_platform(engine: Path, built_on: Mapping[str, Any], here: EnginePlatform) -> None:
    """Raise ArtifactError, with the differences, if an engine was built for another platform.

    The release of Jetson Linux is not compared where one of both sides could not read it, as in a container.
    All else is, also the version of TensorRT, which comes with the release.
    """
    free = {name for way in built_on["portable"] for name in PORTABLE[way]}
    systems = (here.system, str(built_on["system"]))
    if L4T_UNKNOWN in systems and all(system.startswith("L4T ") for system in systems):
        free.add("system")
    if built_on["gpu"] == "any":
        free |= {"gpu", "sms", "system"}
        if here.compute_capability in built_on["compute_capability"].split():
            free.add("compute_capability")
    differs = [
        f"{WORDS.get(name, name)} is {now}, was {built_on[name]}"
        for name, now in asdict(here).items()
        if name not in free and now != built_on[name]
    ]
    if differs:
        raise ArtifactError(f"{engine} was built for another platform: {'; '.join(differs)}", hint=REBUILD)


def _mark(digest: str) -> str:
    return hmac.new(_key(), digest.encode(), hashlib.sha256).hexdigest()


def _key() -> bytes:
    """The HMAC key of this user on this machine, created on first use."""
    root = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    path = root / "edgestill" / "engine.key"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # No lock is needed: the link below is atomic, so the key is never half written.
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            stream.write(secrets.token_bytes(32))
        with suppress(FileExistsError):  # another process created the key first: that one is used
            path.hardlink_to(temporary)
        temporary.unlink()
    return path.read_bytes()
