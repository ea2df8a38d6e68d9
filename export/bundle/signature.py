"""Signatures of bundles by SSH keys: ``ssh-keygen -Y``, of OpenSSH 8.1 and later.

Source: https://github.com/openssh/openssh-portable/blob/master/PROTOCOL.sshsig
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgestill.errors import ArtifactError, DeviceError, UsageError, VerificationError
from export.bundle.contents import SIGNATURE, SUMS

#: A signature counts for this namespace only: one of the same key for mail or git says nothing of a bundle.
NAMESPACE = "edgestill-bundle"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signers:
    """Whose signature is asked for.

    Attributes:
        file: An ``allowed_signers`` file, see ssh-keygen(1): a line has a name and a public key.
        name: The name in it that must have signed.
    """

    file: Path
    name: str


def sign(data: bytes, key: Path) -> bytes:
    """The signature of data by a private key, or by a public key whose private one the SSH agent has.

    Raises:
        DeviceError: ssh-keygen is not installed.
        UsageError: The key cannot be read, or ssh-keygen refuses it.
    """
    if not key.is_file():
        raise UsageError(f"{key} does not exist", hint="name an SSH key, e.g. ~/.ssh/id_ed25519")
    with tempfile.TemporaryDirectory(prefix="edgestill-") as name:
        file = Path(name) / SUMS
        file.write_bytes(data)
        done = _ssh_keygen(["-Y", "sign", "-f", str(key), "-n", NAMESPACE, str(file)], b"")
        if done.returncode:
            raise UsageError(
                f"ssh-keygen could not sign with {key}: {_said(done)}",
                hint="a key with a passphrase must be in the SSH agent: ssh-add KEY",
            )
        return file.with_name(SIGNATURE).read_bytes()


def check_signature(sums: bytes, signature: bytes | None, signers: Signers) -> None:
    """Check who signed.

    Args:
        sums: Content of SHA256SUMS.
        signature: Content of SHA256SUMS.sig; None if the bundle is not signed.
        signers: Whose signature is asked for.

    Raises:
        ArtifactError: The bundle is not signed.
        DeviceError: ssh-keygen is not installed.
        UsageError: There is no file of signers.
        VerificationError: The signature is of another key, or of other content.
    """
    if not signers.file.is_file():
        raise UsageError(
            f"{signers.file} does not exist",
            hint="a line of it has a name and a public key: me ssh-ed25519 AAAA...",
        )
    if signature is None:
        raise ArtifactError("the bundle is not signed", hint="sign it: edgestill bundle ... --sign KEY")
    with tempfile.TemporaryDirectory(prefix="edgestill-") as name:
        file = Path(name) / SIGNATURE
        file.write_bytes(signature)
        words = [
            "-Y",
            "verify",
            "-f",
            str(signers.file),
            "-I",
            signers.name,
            "-n",
            NAMESPACE,
            "-s",
            str(file),
        ]
        done = _ssh_keygen(words, sums)
    if done.returncode:
        raise VerificationError(
            f"the bundle is not signed by {signers.name}: {_said(done)}",
            hint="do not install it; ask who wrote it for another copy",
        )


def _ssh_keygen(words: Sequence[str], data: bytes) -> subprocess.CompletedProcess[bytes]:
    # In a session of its own it has no terminal, so that it cannot stop to ask for a passphrase.
    try:
        return subprocess.run(
            ["ssh-keygen", *words], input=data, capture_output=True, check=False, start_new_session=True
        )
    except FileNotFoundError as error:
        raise DeviceError("ssh-keygen is not installed", hint="sudo apt install openssh-client") from error


def _said(done: subprocess.CompletedProcess[bytes]) -> str:
    lines = (done.stderr or done.stdout).decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else f"exit code {done.returncode}"
