"""Uploads: what is sent, what is not, and what happens when the connection or the disk ends."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgestill.errors import ArtifactError, DeviceError
from edgestill.remote.bundle_transfer import LocalBundle, send_bundle
from edgestill.remote.device import Device
from edgestill.remote.transport import agent_bytes
from tests.edgestill.remote.conftest import Folder, bundle_there, make_bundle

BIG = 300_000


@pytest.fixture
def big(tmp_path: Path) -> LocalBundle:
    """A bundle with two wheels that are larger than a pipe."""
    wheels = [(f"wheels/big-{n}-py3-none-any.whl", bytes([n]) * BIG) for n in (1, 2)]
    return LocalBundle.read(make_bundle(tmp_path / "big.tar", more=wheels))


def test_a_bundle_arrives_whole(big: LocalBundle, device: Device, board: Folder) -> None:
    found = send_bundle(big, device)
    assert found == {"bundle": big.name, "sent_bytes": sum(big.sizes.values()), "reused_bytes": 0}
    there = bundle_there(board)
    assert (there / "SHA256SUMS").read_bytes() == big.sums
    assert {str(p.relative_to(there)): p.stat().st_size for p in there.rglob("*") if p.is_file()} == {
        **big.sizes,
        "SHA256SUMS": len(big.sums),
    }
    assert (there / "run.sh").stat().st_mode & 0o777 == 0o755
    assert not (board.home / ".edgestill-remote" / "incoming").exists()


@pytest.mark.parametrize("after", [1000, BIG + BIG // 2])
def test_an_upload_that_is_cut_goes_on_where_it_was(
    after: int, big: LocalBundle, device: Device, board: Folder
) -> None:
    board.cut_after = len(agent_bytes()) + 1000 + after
    found = send_bundle(big, device)
    assert board.cut_after is None
    total = sum(big.sizes.values())
    assert found["sent_bytes"] + found["reused_bytes"] == total
    assert found["reused_bytes"] >= (BIG if after > 1000 else 0)
    assert (bundle_there(board) / "SHA256SUMS").read_bytes() == big.sums


def test_a_connection_that_does_not_come_back_is_two_lines_and_a_second_try_succeeds(
    big: LocalBundle, device: Device, board: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(_: float) -> None:
        board.is_down = True

    monkeypatch.setattr("edgestill.remote.device.time.sleep", down)
    board.cut_after = len(agent_bytes()) + BIG
    with pytest.raises(DeviceError, match="the connection to me@board was lost") as caught:
        send_bundle(big, device)
    assert "the same command" in caught.value.hint
    board.is_down = False
    assert send_bundle(big, device)["bundle"] == big.name


def test_only_new_files_are_sent(big: LocalBundle, device: Device, board: Folder, tmp_path: Path) -> None:
    send_bundle(big, device)
    assert send_bundle(big, device)["sent_bytes"] == 0
    wheel = ("wheels/big-1-py3-none-any.whl", bytes([1]) * BIG)
    newer = LocalBundle.read(make_bundle(tmp_path / "newer.tar", more=[wheel], names=("tiny", "other")))
    found = send_bundle(newer, device)
    assert found["reused_bytes"] >= BIG
    assert 0 < found["sent_bytes"] < 10_000
    assert bundle_there(board).name == newer.name  # the older one is nobody's


def test_the_bundle_of_another_person_stays(
    big: LocalBundle, bundle: Path, device: Device, other: Device, board: Folder
) -> None:
    send_bundle(big, other)
    send_bundle(LocalBundle.read(bundle), device)
    assert len(device.ask("facts", python=None)["bundles"]) == 2


def test_a_part_that_was_damaged_there_is_thrown_away(
    big: LocalBundle, device: Device, board: Folder
) -> None:
    folder = board.home / ".edgestill-remote" / "incoming" / big.name
    folder.mkdir(parents=True)
    for number, size in ((1, 100), (2, 2 * BIG)):
        digest = big.bundle.sha256[f"wheels/big-{number}-py3-none-any.whl"]
        (folder / f"{digest}.part").write_bytes(b"x" * size)
    with pytest.raises(ArtifactError, match="arrived damaged") as caught:
        send_bundle(big, device)
    assert caught.value.hint == "repeat the command"
    assert send_bundle(big, device)["bundle"] == big.name


def test_a_bundle_for_another_machine_or_python_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    local = LocalBundle.read(make_bundle(tmp_path / "arm.tar", machine="aarch64", python="3.12"))
    with pytest.raises(DeviceError, match=r"is for aarch64 \(x\), me@board is x86_64") as caught:
        local.check_fit({"machine": "x86_64", "pythons": {"3.12": "/p"}}, "me@board")
    assert "--for x86_64" in caught.value.hint
    with pytest.raises(DeviceError, match=r"packages for Python 3.12, me@board has Python 3.8\n") as caught:
        local.check_fit({"machine": "aarch64", "pythons": {"3.8": "/p"}}, "me@board")
    assert caught.value.hint.startswith("install Python 3.10")
    with pytest.raises(DeviceError, match=r"has Python 3\.10, 3\.8") as caught:
        local.check_fit({"machine": "aarch64", "pythons": {"3.10": "/p", "3.8": "/q"}}, "me@board")
    assert caught.value.hint == "write the bundle with --python 3.10"
    local.check_fit({"machine": "aarch64", "pythons": {"3.12": "/p"}}, "me@board")


def test_an_upload_of_the_same_user_that_hangs_is_replaced(
    big: LocalBundle, device: Device, other: Device, board: Folder
) -> None:
    fields = {"bundle": big.name, "sums": big.sums.decode(), "signature": None, "sizes": dict(big.sizes)}
    with device.call("upload", **fields) as hanging:
        hanging.event()
        with pytest.raises(DeviceError, match=r"deploy of anna@laptop runs there since \d{4}-"):
            send_bundle(big, other)
        assert send_bundle(big, device)["bundle"] == big.name


@pytest.fixture
def on_disk_of(board: Folder) -> Callable[[str], None]:
    """Gives the agent a file system of some size for its folder, in a mount namespace of its own."""
    inside = ["unshare", "--user", "--map-root-user", "--mount"]
    if sys.platform != "linux" or not shutil.which("unshare"):
        pytest.skip("needs Linux and unshare")
    if subprocess.run([*inside, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this system allows no user namespaces")
    disk = board.home / ".edgestill-remote"
    disk.mkdir()
    mount = 'mount -t tmpfs -o size="$1" tmpfs "$2" && shift 2 && exec "$@"'

    def give(size: str) -> None:
        board.inside = [*inside, "sh", "-c", mount, "sh", size, str(disk)]

    return give


@pytest.mark.parametrize("is_told_before", [True, False])
def test_a_full_disk_is_two_lines_and_with_more_space_a_second_try_succeeds(
    is_told_before: bool,
    big: LocalBundle,
    device: Device,
    on_disk_of: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    program = agent_bytes().partition(b"\n")[2]
    if not is_told_before:  # the disk is filled by others while the bundle arrives
        program = program.replace(b"MARGIN = 64 << 20", b"MARGIN = -(9 << 30)")
    monkeypatch.setattr("edgestill.remote.device.agent_bytes", lambda: b"%d\n" % len(program) + program)
    on_disk_of("400k")
    with pytest.raises(DeviceError, match="MB are free" if is_told_before else "No space left") as caught:
        send_bundle(big, device)
    assert "choose another disk with --folder" in caught.value.hint
    on_disk_of("90m")
    assert send_bundle(big, device)["bundle"] == big.name
