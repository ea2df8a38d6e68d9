"""Reading a bundle: every hash, and the signature where one is asked for, before anything is used."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from edgestill.errors import ArtifactError, UsageError
from export.bundle.archive import COPY_AGAIN, Entry, mode_of, read_archive
from export.bundle.contents import (
    INDEX,
    INSTALLER,
    MAX_LIST_BYTES,
    RUNNER,
    SIGNATURE,
    SUFFIXES,
    SUMS,
    BundleIndex,
)
from export.bundle.signature import Signers, check_signature

FOREIGN = "`edgestill bundle` writes bundles"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A bundle whose files were compared with their hashes.

    Attributes:
        index: The content of ``bundle.json``.
        sha256: SHA-256 by name of every file that SHA256SUMS lists.
        sums_sha256: SHA-256 of SHA256SUMS: the identity of the content, the same compressed or not.
        is_signed: Whether there is a signature.
        signed_by: Who signed, where that was checked; else None.
        unpacked_bytes: Size of all files.
    """

    index: BundleIndex
    sha256: Mapping[str, str]
    sums_sha256: str
    is_signed: bool
    signed_by: str | None
    unpacked_bytes: int


def verify_bundle(path: Path, *, signers: Signers | None = None) -> Bundle:
    """Read a whole bundle and check it; nothing is written.

    Args:
        path: ``FILE.tar.zst`` or ``FILE.tar``.
        signers: Whose signature is asked for; None for nobody's.

    Raises:
        ArtifactError: It is missing, truncated, altered, or no bundle; or not signed, if that is asked for.
        DeviceError: The zstandard package or ssh-keygen is needed and not installed.
        VerificationError: The signature is not that of the signer.
    """
    return _read(path, None, signers)


def unpack_bundle(path: Path, folder: Path, *, signers: Signers | None = None) -> Bundle:
    """Check a bundle and unpack it; the folder appears only once everything in it was checked.

    Args:
        path: ``FILE.tar.zst`` or ``FILE.tar``.
        folder: A new folder.
        signers: See ``verify_bundle``.

    Raises:
        ArtifactError: See ``verify_bundle``.
        UsageError: The folder exists.
    """
    if folder.exists():
        raise UsageError(f"{folder} exists already", hint="name a new folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".bundle-", dir=folder.parent))
    try:
        bundle = _read(path, temporary, signers)
        temporary.chmod(0o755)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return bundle


def parse_sums(data: bytes) -> dict[str, str]:
    """The hashes of a SHA256SUMS file by name, in its order.

    Raises:
        ArtifactError: It has another form.
    """
    found: dict[str, str] = {}
    for line in data.decode("ascii", "replace").splitlines():
        digest, gap, name = line[:64], line[64:66], line[66:]
        if gap != "  " or not set(digest) <= set("0123456789abcdef") or not name or name in found:
            raise ArtifactError(f"{SUMS} has a line {line[:80]!r}", hint=COPY_AGAIN)
        found[name] = digest
    return found


def sums_text(hashes: Mapping[str, str]) -> str:
    """A SHA256SUMS file, sorted by name."""
    return "".join(f"{hashes[name]}  {name}\n" for name in sorted(hashes))


def _read(path: Path, folder: Path | None, signers: Signers | None) -> Bundle:
    if not path.name.endswith(SUFFIXES):
        raise ArtifactError(f"{path} is no bundle: it ends in neither {' nor '.join(SUFFIXES)}", hint=FOREIGN)
    entries = read_archive(path)
    name, size, content = next(entries)
    if name != SUMS:
        raise ArtifactError(f"{path} is no bundle: it begins with {name!r}, not {SUMS}", hint=FOREIGN)
    sums = _small(path, name, size, content)
    hashes = parse_sums(sums)
    signature, rest = _signature(path, entries)
    if signers is not None:
        check_signature(sums, signature, signers)
    total, index = _files(path, rest, hashes, folder)
    if folder is not None:
        (folder / SUMS).write_bytes(sums)
        if signature is not None:
            (folder / SIGNATURE).write_bytes(signature)
    return Bundle(
        index=_index(path, index, hashes),
        sha256=hashes,
        sums_sha256=hashlib.sha256(sums).hexdigest(),
        is_signed=signature is not None,
        signed_by=signers.name if signers else None,
        unpacked_bytes=total,
    )


def _signature(path: Path, entries: Iterator[Entry]) -> tuple[bytes | None, Iterator[Entry]]:
    """The signature, if it is the next entry, and the entries behind it."""
    second = next(entries, None)
    if second is None:
        return None, entries
    if second[0] != SIGNATURE:
        return None, chain([second], entries)
    return _small(path, *second), entries


def _files(
    path: Path, entries: Iterator[Entry], hashes: Mapping[str, str], folder: Path | None
) -> tuple[int, bytes]:
    """Compare the files with their hashes, and write them into a folder; their size, and the index."""
    waiting, total, index = iter(hashes), 0, b""
    for name, size, content in entries:
        expected = next(waiting, None)
        if name != expected:
            what = f"where {SUMS} has {expected!r}" if expected else f"which {SUMS} does not list"
            raise ArtifactError(f"{path} has {name!r}, {what}", hint=COPY_AGAIN)
        digest, kept = _take(path, name, size, content, folder)
        if digest != hashes[name]:
            raise ArtifactError(
                f"{path}: {name} is altered: its SHA-256 is {digest[:12]}..., not {hashes[name][:12]}...",
                hint=COPY_AGAIN,
            )
        index = kept if name == INDEX else index
        total += size
    if missing := next(waiting, None):
        raise ArtifactError(f"{path} lacks {missing!r}, which {SUMS} lists", hint=COPY_AGAIN)
    return total, index


def _take(
    path: Path, name: str, size: int, content: Iterator[bytes], folder: Path | None
) -> tuple[str, bytes]:
    """The SHA-256 of a file, which is written into the folder; and its content, if it is the index."""
    digest = hashlib.sha256()
    if name == INDEX:
        kept = _small(path, name, size, content)
        content = iter([kept])
    else:
        kept = b""
    if folder is None:
        for piece in content:
            digest.update(piece)
        return digest.hexdigest(), kept
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as stream:
        for piece in content:
            digest.update(piece)
            stream.write(piece)
    target.chmod(mode_of(name))
    return digest.hexdigest(), kept


def _small(path: Path, name: str, size: int, content: Iterator[bytes]) -> bytes:
    if size > MAX_LIST_BYTES:
        raise ArtifactError(f"{path} has {name} of {size} bytes", hint="it is no bundle of edgestill")
    return b"".join(content)


def _index(path: Path, data: bytes, hashes: Mapping[str, str]) -> BundleIndex:
    """The index; every file that it names must be there, and what installs."""
    try:
        index = BundleIndex.from_json(json.loads(data))
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path} has no readable {INDEX}: {error}", hint=COPY_AGAIN) from error
    if lacking := sorted({*index.files(), INSTALLER, RUNNER} - set(hashes)):
        raise ArtifactError(f"{path} lacks {lacking[0]!r}, which {INDEX} names", hint=COPY_AGAIN)
    return index
