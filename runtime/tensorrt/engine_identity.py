"""Where an engine is valid, and who built it: an engine is native code, and fits one machine.

It runs only on the GPU, driver and TensorRT that it was built for, and running a stranger's is running a
stranger's program. So its manifest names all of these, and carries a mark that only this user on this machine
can make: a keyed hash whose key never leaves the user's folder.
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
REBUILD = "build it on this machine: edgestill export CKPT --to tensorrt --precision P"
WORDS: Mapping[str, str] = {"gpu": "the GPU", "sms": "multiprocessors", "compute_capability": "capability"}
#: What may differ where an engine was built to be portable in a way.
PORTABLE: Mapping[str, tuple[str, ...]] = {
    "version": ("version", "system"),
    "hardware": ("gpu", "compute_capability", "sms"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """A machine as far as an engine depends on it.

    Attributes:
        family: Full TensorRT, or TensorRT-RTX.
        version: Its full version.
        gpu: The GPU's name; ``"any"`` for an engine that was built ahead.
        compute_capability: Of the GPU, or those that it was built ahead for.
        sms: Multiprocessors; 0 for an engine that was built ahead.
        system: Driver, or Jetson Linux release.
    """

    family: EngineTarget
    version: str
    gpu: str
    compute_capability: str
    sms: int
    system: str


def home_here(family: EngineTarget, version: str, gpu: GpuFacts) -> Home:
    """This machine."""
    snapshot = detect()
    if snapshot.jetson:
        system = f"L4T {snapshot.jetson.l4t or 'unknown'}"
    else:
        system = f"driver {next((card.driver for card in snapshot.gpus if card.driver), 'unknown')}"
    return Home(
        family=family,
        version=version,
        gpu=gpu.name,
        compute_capability=gpu.compute_capability,
        sms=gpu.sms,
        system=system,
    )


def built_ahead(version: str, capabilities: tuple[str, ...]) -> Home:
    """The home of an engine that was built with no GPU, for all of some kinds."""
    return Home(
        family="tensorrt-rtx",
        version=version,
        gpu="any",
        compute_capability=" ".join(capabilities),
        sms=0,
        system="any",
    )


def marked(home: Home, engine: Path, *, portable: tuple[str, ...] = ()) -> dict[str, Any]:
    """A manifest's ``built_on``: the home, what may differ from it, and this user's mark on the file."""
    return {**asdict(home), "portable": list(portable), MARK: _mark(sha256_file(engine))}


def trusted_manifest(engine: Path) -> Manifest:
    """The manifest of an engine that this user built on this machine.

    Raises:
        ArtifactError: The engine has none, is not the file that it describes, or was built elsewhere.
    """
    hint = f"{REBUILD}; if you trust its maker: --trust-engine"
    try:
        manifest = read_manifest(engine)
    except DataError as error:
        raise ArtifactError(error.what, hint=hint) from error
    if manifest is None or manifest.built_on is None:
        raise ArtifactError(f"{engine} is native code, and no manifest says who built it", hint=hint)
    digest = sha256_file(engine)
    if manifest.files.get(engine.name) != digest:
        raise ArtifactError(f"{engine} is not the file that its manifest describes", hint=hint)
    if not hmac.compare_digest(str(manifest.built_on.get(MARK)), _mark(digest)):
        raise ArtifactError(f"{engine} is native code, and was not built by you on this machine", hint=hint)
    return manifest


def check_home(engine: Path, built_on: Mapping[str, Any], here: Home) -> None:
    """Raise ArtifactError if an engine does not fit this machine; the message says in what it differs."""
    free = {name for way in built_on["portable"] for name in PORTABLE[way]}
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
        raise ArtifactError(f"{engine} was built for something else: {'; '.join(differs)}", hint=REBUILD)


def _mark(digest: str) -> str:
    return hmac.new(_key(), digest.encode(), hashlib.sha256).hexdigest()


def _key() -> bytes:
    """This user's secret on this machine, made at its first use."""
    root = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    path = root / "edgestill" / "engine.key"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            stream.write(secrets.token_bytes(32))
        with suppress(FileExistsError):  # another process was first: its key counts
            path.hardlink_to(temporary)
        temporary.unlink()
    return path.read_bytes()
