"""A Debian root file system for another architecture, unpacked on this machine: nothing of it is run.

apt of the host resolves and checks the packages with a state of its own, so that the host's packages and its
list of architectures are not touched. Maintainer scripts are not run; the few files that they would make and
that the board needs are made here.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

SUITE = "bookworm"  # its Python is 3.11; Debian 13 has 3.13, which edgestill does not support
MIRROR = "http://deb.debian.org/debian"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
#: Of the arm64 system. python3-opencv is the system's OpenCV, with GStreamer and without pip's metadata.
SYSTEM = (
    *("base-files", "bash", "coreutils", "dash", "findutils", "grep", "gzip", "libc-bin", "procps", "sed"),
    *("tar", "util-linux", "python3", "python3-venv", "openssh-server", "openssh-sftp-server"),
    *("python3-opencv", "gstreamer1.0-tools", "gstreamer1.0-plugins-base"),
)
_MERGED = ("bin", "lib", "sbin")
#: Links that update-alternatives would make.
_ALTERNATIVES = {
    "usr/lib/aarch64-linux-gnu/libblas.so.3": "blas/libblas.so.3",
    "usr/lib/aarch64-linux-gnu/liblapack.so.3": "lapack/liblapack.so.3",
}
_CONFIG = """\
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Install-Recommends "false";
Acquire::Languages "none";
Dir::State "{state}";
Dir::State::status "{state}/status";
Dir::Cache "{state}/cache";
Dir::Etc::SourceList "{state}/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
"""


def host_architecture() -> str:
    """Debian's name of the architecture of this machine."""
    command = ["dpkg", "--print-architecture"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def fetch_packages(names: Iterable[str], architecture: str, state: Path) -> list[Path]:
    """Download packages and all that they depend on; what is there already is not downloaded again.

    Args:
        names: Names of packages.
        architecture: Debian's name of their architecture.
        state: Folder for apt's state and the packages.

    Returns:
        The ``.deb`` files.

    Raises:
        subprocess.CalledProcessError: apt cannot find or download a package; its messages are on stderr.
    """
    archives = state / "cache" / "archives"
    for folder in (state / "lists" / "partial", archives / "partial"):
        folder.mkdir(parents=True, exist_ok=True)
    (state / "status").touch()
    (state / "sources.list").write_text(f"deb [signed-by={KEYRING}] {MIRROR} {SUITE} main\n")
    config = state / "apt.conf"
    config.write_text(_CONFIG.format(architecture=architecture, state=state))
    for verb in (["update"], ["install", "--yes", "--download-only", *names]):
        # LC_ALL: messages are the same everywhere. stdout is apt's progress.
        environment = ["env", "LC_ALL=C.UTF-8", f"APT_CONFIG={config}"]
        command = [*environment, "apt-get", "-qq", "-o", "APT::Sandbox::User=root", *verb]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return sorted(archives.glob("*.deb"))


def unpack(packages: Iterable[Path], root: Path) -> None:
    """Unpack packages into a new root file system with merged ``/usr``."""
    for name in _MERGED:
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    for package in packages:
        extract(package, root)
    for link, target in _ALTERNATIVES.items():
        (root / link).symlink_to(target)
    if not (root / "bin/sh").exists():
        (root / "bin/sh").symlink_to("dash")


def extract(package: Path, folder: Path, *members: str) -> None:
    """Unpack the files of one package, or the named ones of them."""
    writing = ["tar", "--extract", "--keep-directory-symlink", "--directory", folder, *members]
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as reading:
        subprocess.run(writing, check=True, stdin=reading.stdout)
    if reading.returncode != 0:
        raise subprocess.CalledProcessError(reading.returncode, reading.args)
