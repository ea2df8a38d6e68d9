"""Reading bundles: hashes, foreign and missing files, signatures; nothing is left of a bad one."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from edgestill.errors import ArtifactError, ToolchainError, UsageError, VerificationError
from export.bundle.archive import read_archive, write_archive
from export.bundle.contents import SIGNATURE, SUMS, BundleIndex, is_plain_name
from export.bundle.reading import parse_sums, sums_text, unpack_bundle, verify_bundle
from export.bundle.signature import NAMESPACE, Signers, check_signature, sign

Files = dict[str, bytes]

needs_ssh_keygen = pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="ssh-keygen is not installed")


def files_of(path: Path) -> Files:
    return {name: b"".join(content) for name, _, content in read_archive(path)}


def rewritten(bundle: Path, folder: Path, change: Callable[[Files], None], *, rehash: bool = False) -> Path:
    """A bundle with other files; with hashes that fit them again, as an attacker would make them."""
    import hashlib

    files = files_of(bundle)
    change(files)
    if rehash:
        files.pop(SUMS)
        hashes = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
        files = {SUMS: sums_text(hashes).encode(), **files}
    out = folder / "changed.tar"
    order = [SUMS, *sorted(name for name in files if name != SUMS)]
    write_archive(out, [(name, files[name]) for name in order], force=True)
    return out


def test_a_whole_bundle_is_read_and_unpacked(bundle: Path, tmp_path: Path) -> None:
    found = verify_bundle(bundle)
    assert [model.name for model in found.index.models] == ["tiny"]
    assert not found.is_signed
    assert found.signed_by is None
    folder = tmp_path / "new" / "tiny"
    assert unpack_bundle(bundle, folder) == found
    unpacked = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert unpacked == files_of(bundle)
    assert (folder / "run.sh").stat().st_mode & 0o777 == 0o755
    assert [p.name for p in folder.parent.iterdir()] == ["tiny"]


def test_an_existing_folder_is_not_written_into(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="exists already"):
        unpack_bundle(bundle, tmp_path)


def set_bytes(name: str, data: bytes) -> Callable[[Files], None]:
    return lambda files: files.update({name: data})


def drop(name: str) -> Callable[[Files], None]:
    return lambda files: files.pop(name) and None


CHANGES: dict[str, tuple[Callable[[Files], None], str]] = {
    "altered": (lambda files: files.update({"run.sh": files["run.sh"] + b"#"}), "run.sh is altered"),
    "more": (set_bytes("sitecustomize.py", b""), "sitecustomize.py"),
    "less": (drop("install.py"), "install.py"),
    "last-less": (drop("run.sh"), "run.sh"),
    "list-altered": (lambda files: files.update({SUMS: files[SUMS].replace(b"run.sh", b"ran.sh")}), "ran.sh"),
    "list-broken": (set_bytes(SUMS, b"no list\n"), "has a line"),
    "list-binary": (set_bytes(SUMS, b"\xff" * 70), "has a line"),
    "list-empty": (set_bytes(SUMS, b""), "does not list"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_bundle_that_does_not_fit_its_list_is_refused_and_leaves_nothing(
    case: str, bundle: Path, tmp_path: Path
) -> None:
    change, words = CHANGES[case]
    path = rewritten(bundle, tmp_path, change)
    with pytest.raises(ArtifactError, match=words):
        verify_bundle(path)
    with pytest.raises(ArtifactError, match=words):
        unpack_bundle(path, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["changed.tar"]


def test_an_archive_of_another_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.tar"
    write_archive(path, [("README", b"hello")], force=False)
    with pytest.raises(ArtifactError, match="begins with 'README'"):
        verify_bundle(path)
    path = tmp_path / "other.zip"
    path.write_bytes(b"PK")
    with pytest.raises(ArtifactError, match="ends in neither"):
        verify_bundle(path)


def index_with(**fields: object) -> Callable[[Files], None]:
    return lambda files: files.update(
        {"bundle.json": json.dumps({**json.loads(files["bundle.json"]), **fields}).encode()}
    )


@pytest.mark.parametrize(
    "change",
    [
        set_bytes("bundle.json", b"{"),
        set_bytes("bundle.json", b"[" * 100_000),
        set_bytes("bundle.json", b"[]"),
        set_bytes("bundle.json", b"{}"),
        set_bytes("bundle.json", b"x" * ((1 << 20) + 1)),
        drop("bundle.json"),
        drop("install.py"),
        index_with(kind="other"),
        index_with(schema=2),
        index_with(models=7),
        index_with(models=[{}]),
        index_with(pip="../pip.whl"),
        index_with(pip="wheels/none.whl"),
        index_with(wheels={"3.10": ["/etc/passwd"]}),
        index_with(wheels=[]),
        index_with(device=3),
    ],
)
def test_an_index_that_is_wrong_is_refused_though_its_hash_fits(
    change: Callable[[Files], None], bundle: Path, tmp_path: Path
) -> None:
    with pytest.raises(ArtifactError):
        unpack_bundle(rewritten(bundle, tmp_path, change, rehash=True), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_index_survives_json(bundle: Path) -> None:
    index = verify_bundle(bundle).index
    assert BundleIndex.from_json(json.loads(json.dumps(index.to_json()))) == index


def test_lists_are_sorted_and_read_back() -> None:
    hashes = {"b": "0" * 64, "a/b": "f" * 64}
    assert sums_text(hashes) == f"{'f' * 64}  a/b\n{'0' * 64}  b\n"
    assert parse_sums(sums_text(hashes).encode()) == hashes


@pytest.mark.skipif(not shutil.which("sha256sum"), reason="sha256sum is not installed")
def test_coreutils_check_an_unpacked_bundle(bundle: Path, tmp_path: Path) -> None:
    unpack_bundle(bundle, tmp_path / "x")
    command = ["sha256sum", "--check", "--strict", "--quiet", SUMS]
    assert subprocess.run(command, cwd=tmp_path / "x", check=False).returncode == 0
    (tmp_path / "x" / "run.sh").write_text("other")
    assert subprocess.run(command, cwd=tmp_path / "x", check=False, capture_output=True).returncode != 0


@pytest.mark.parametrize("name", ["a", "a/b-c_d.e+f", "wheels/x-1!2.0-py3-none-any.whl", "a..b"])
def test_plain_names(name: str) -> None:
    assert is_plain_name(name)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "/a", "a/", "a//b", "a/../b", "-a", "a b", "a\n", "é", "a" * 201]
)
def test_other_names(name: str) -> None:
    assert not is_plain_name(name)


# --- signatures


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two keys, and the signers ``me`` and ``you`` with the first and the second."""
    folder = tmp_path_factory.mktemp("keys")
    lines = []
    for name in ("me", "you"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(folder / name)]
        subprocess.run(command, check=True)
        lines.append(f"{name} {(folder / f'{name}.pub').read_text()}")
    (folder / "signers").write_text("".join(lines))
    return folder


def signed(bundle: Path, key: Path, out: Path) -> Path:
    files = files_of(bundle)
    rest = [(name, data) for name, data in files.items() if name != SUMS]
    write_archive(out, [(SUMS, files[SUMS]), (SIGNATURE, sign(files[SUMS], key)), *rest], force=True)
    return out


@needs_ssh_keygen
def test_a_signed_bundle_is_accepted_from_its_signer_only(bundle: Path, keys: Path, tmp_path: Path) -> None:
    path = signed(bundle, keys / "me", tmp_path / "x.tar")
    plain = verify_bundle(path)
    assert (plain.is_signed, plain.signed_by) == (True, None)
    assert verify_bundle(path, signers=Signers(file=keys / "signers", name="me")).signed_by == "me"
    for name in ("you", "nobody"):
        with pytest.raises(VerificationError, match=f"not signed by {name}"):
            unpack_bundle(path, tmp_path / "out", signers=Signers(file=keys / "signers", name=name))
    assert not (tmp_path / "out").exists()


@needs_ssh_keygen
def test_signing_twice_gives_the_same_bytes(keys: Path) -> None:
    assert sign(b"content", keys / "me") == sign(b"content", keys / "me")


@needs_ssh_keygen
def test_a_bundle_without_a_signature_is_refused_where_one_is_asked_for(bundle: Path, keys: Path) -> None:
    with pytest.raises(ArtifactError, match="not signed"):
        verify_bundle(bundle, signers=Signers(file=keys / "signers", name="me"))


@needs_ssh_keygen
def test_a_signature_of_other_content_or_for_another_purpose_is_refused(keys: Path, tmp_path: Path) -> None:
    signers = Signers(file=keys / "signers", name="me")
    with pytest.raises(VerificationError):
        check_signature(b"content", sign(b"other", keys / "me"), signers)
    with pytest.raises(VerificationError):
        check_signature(b"content", b"no signature", signers)
    (tmp_path / "mail").write_bytes(b"content")
    command = ["ssh-keygen", "-q", "-Y", "sign", "-f", str(keys / "me"), "-n", "mail", str(tmp_path / "mail")]
    subprocess.run(command, check=True, capture_output=True)
    assert NAMESPACE != "mail"
    with pytest.raises(VerificationError):
        check_signature(b"content", (tmp_path / "mail.sig").read_bytes(), signers)


@needs_ssh_keygen
def test_a_key_that_cannot_sign_is_two_lines(tmp_path: Path, keys: Path) -> None:
    (tmp_path / "key").write_text("no key")
    for key in (tmp_path / "none", tmp_path / "key"):
        with pytest.raises(UsageError):
            sign(b"content", key)
    with pytest.raises(ToolchainError, match="does not exist"):
        check_signature(b"", b"", Signers(file=tmp_path / "none", name="me"))
