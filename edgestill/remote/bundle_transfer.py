"""Send a bundle: the device says which files it lacks, and from which byte on."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgestill.errors import DeviceError
from edgestill.progress import Advance, progress
from edgestill.remote.device import Call, Device
from export.bundle.archive import read_archive
from export.bundle.contents import SIGNATURE, SUMS
from export.bundle.reading import Bundle, verify_bundle

ID_DIGITS = 16  # of the SHA-256 of SHA256SUMS, which names the bundle on the device
MB = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalBundle:
    """A bundle whose files were compared with their hashes.

    Attributes:
        path: The archive.
        bundle: What it holds.
        sums: SHA256SUMS.
        signature: Its signature; None without.
        sizes: Sizes of the files that SHA256SUMS lists, bytes.
    """

    path: Path
    bundle: Bundle
    sums: bytes
    signature: bytes | None
    sizes: Mapping[str, int]

    @classmethod
    def read(cls, path: Path) -> LocalBundle:
        """Read and check an archive.

        Raises:
            ArtifactError: It is missing, truncated, altered, or no bundle.
            DeviceError: The zstandard package is needed and not installed.
        """
        bundle = verify_bundle(path)
        small: dict[str, bytes] = {}
        sizes = {}
        for name, size, content in read_archive(path):
            if name in {SUMS, SIGNATURE}:
                small[name] = b"".join(content)
            else:
                sizes[name] = size
        return cls(path=path, bundle=bundle, sums=small[SUMS], signature=small.get(SIGNATURE), sizes=sizes)

    @property
    def name(self) -> str:
        """What the bundle is called on the device."""
        return self.bundle.sums_sha256[:ID_DIGITS]

    def check_fit(self, facts: Mapping[str, Any], device: str) -> None:
        """Raise DeviceError if the bundle cannot be installed there.

        Args:
            facts: What the agent tells.
            device: What it is called in messages.
        """
        index = self.bundle.index
        if facts["machine"] != index.machine:
            raise DeviceError(
                f"the bundle is for {index.machine} ({index.device}), {device} is {facts['machine']}",
                hint=f"write one for it: edgestill bundle ... --for {facts['machine']}, or --for DEVICE",
            )
        if not set(facts["pythons"]) & set(index.wheels):
            have = ", ".join(facts["pythons"]) or "none"
            raise DeviceError(
                f"the bundle has packages for Python {', '.join(index.wheels)}, {device} has Python {have}",
                hint=_python_hint(facts["pythons"]),
            )


def _python_hint(pythons: Mapping[str, str]) -> str:
    """What to do without a fitting Python."""
    usable = [version for version in ("3.10", "3.11", "3.12") if version in pythons]
    if usable:
        return f"write the bundle with --python {usable[-1]}"
    return "install Python 3.10, 3.11 or 3.12 there, and name it: --python /path/of/python"


def send_bundle(local: LocalBundle, device: Device) -> dict[str, Any]:
    """Send what the device lacks of a bundle; goes on where an earlier upload was cut.

    Returns:
        ``bundle``, its name there; ``sent_bytes`` and ``reused_bytes``.

    Raises:
        DeviceError: The device is full, or the connection was lost and does not come again.
    """
    return device.patiently(lambda: _send(local, device))


def _send(local: LocalBundle, device: Device) -> dict[str, Any]:
    fields = {
        "bundle": local.name,
        "sums": local.sums.decode("ascii"),
        "signature": None if local.signature is None else base64.b64encode(local.signature).decode("ascii"),
        "sizes": dict(local.sizes),
    }
    with device.call("upload", **fields) as call:
        wanted: dict[str, int] = call.event()["wanted"]
        left = sum(local.sizes[name] - begin for name, begin in wanted.items())
        if left:
            with progress(f"upload to {device.name}, MB", max(left // MB, 1)) as advance:
                _send_files(local, wanted, call, advance)
        elif wanted:
            _send_files(local, wanted, call, lambda n=1, note="": None)
        return call.result()


def _send_files(local: LocalBundle, wanted: Mapping[str, int], call: Call, advance: Advance) -> None:
    """Send each wanted file from its byte on, in the order of the archive."""
    sent = 0
    for name, _, content in read_archive(local.path):
        if name not in wanted:
            continue
        call.send(f"{name}\n".encode())
        skip = wanted[name]
        for piece in content:
            call.send(piece[skip:])
            before, sent = sent, sent + len(piece[skip:])
            skip = max(skip - len(piece), 0)
            if sent // MB > before // MB:
                advance(sent // MB - before // MB)
