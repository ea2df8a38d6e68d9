"""``edgestill remote``: its options, tables and exit codes. The device is a folder of this machine."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgestill.cli.main import call, main
from edgestill.cli.verbs import remote
from edgestill.remote.remote_host import RemoteHost
from tests.edgestill.remote.conftest import Folder, bundle_there, make_bundle

Edgestill = Callable[..., Any]


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """The device of every host name."""
    home = tmp_path / "home of the board"
    home.mkdir()
    made = Folder(home)

    def reach(host: RemoteHost) -> Folder:
        made.name = str(host)
        return made

    monkeypatch.setattr("edgestill.remote.ssh.Ssh", reach)
    monkeypatch.chdir(tmp_path)
    return made


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "tiny.tar")


def shown(result: dict[str, Any]) -> str:
    from rich.console import Console

    console = Console(width=120, record=True, file=io.StringIO(), markup=False)
    console.print(remote.show(result))
    return console.export_text()


def test_options_of_bench_and_run_reach_the_device_and_others_do_not(board: Folder, bundle: Path) -> None:
    options = ["--duration-s", "2.5", "--threads", "1", "--tile", "2x2", "--model", "tiny"]
    found = call(["remote", "me@board", "bench", str(bundle), *options, "--to", "a b"])
    assert found["files"][0] == "a b/log"
    there = bundle_there(board)
    words = (there / "words-bench").read_text().splitlines()
    assert words == [str(there / "models/tiny/tiny.onnx"), *options[:6]]

    (there / "port").write_text("41234")
    options = ["--source", "csi://0", "--source", "rtsp://x/?a=1&b=2", "--conf", "0.3", "--track"]
    found = call(["remote", "me@board", "run", *options, "--web", "8080", "--to", "c"])
    words = (there / "words-run").read_text().splitlines()[1:]
    assert words == [*options, "--web", "127.0.0.1:0"]
    assert board.forwards == [(41234, 8080)]
    assert (Path("c") / "out" / "crop.txt").exists()


def test_a_table_shows_what_was_done(board: Folder, bundle: Path) -> None:
    text = shown({**call(["remote", "me@board", "deploy", str(bundle)]), "doubts": ["[red]late[/red]"]})
    assert "remote-deploy me@board" in text
    assert "[red]late[/red]" in text
    assert "x86_64" in text or "aarch64" in text
    text = shown(call(["remote", "me@board", "doctor"]))
    assert "TensorRT, Python" in text
    assert "removed" in shown(call(["remote", "me@board", "clean"]))


def test_doctor_ends_with_code_5_where_nothing_can_be_deployed(
    board: Folder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = {"what": "me@board has Python 3.8", "hint": "install one"}
    monkeypatch.setattr("edgestill.remote.loop._problems", lambda *_: [problem])
    assert main(["remote", "me@board", "doctor"]) == 5
    out, err = capsys.readouterr()
    assert json.loads(out)["problems"] == [problem]
    assert err == "edgestill remote: me@board has Python 3.8\n  hint: install one\n"


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["me@board"],
        ["me@board", "reboot"],
        ["-oProxyCommand=touch hacked", "doctor"],
        ["me@board;touch hacked", "doctor"],
        ["me@board", "deploy"],
        ["me@board", "run"],
        ["me@board", "run", "--source", "0", "--web", "high"],
        ["me@board", "run", "--source", "0", "--show"],
        ["me@board", "bench", "--out", "x.json"],
        ["me@board", "bench", "--durations-s", "1"],
        ["me@board", "verify"],
        ["me@board", "fetch"],
    ],
)
def test_mistakes_are_two_lines_and_code_2(
    words: list[str], board: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["remote", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("edgestill remote: ")
    assert "\n  hint: " in err
    assert list(board.home.iterdir()) == []


def test_a_failed_step_has_the_exit_code_of_the_device(
    board: Folder, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call(["remote", "me@board", "deploy", str(bundle)])
    fails = bundle_there(board) / "fail-verify"
    fails.write_text("run.sh verify: a box differs\n  hint: look there\n")
    assert main(["--quiet", "remote"]) == 2
    assert main(["remote", "me@board", "verify", "--quiet"]) == 6
    assert capsys.readouterr().err.endswith(
        "edgestill remote: on me@board: a box differs\n  hint: look there\n"
    )
    fails.unlink()
    assert main(["remote", "me@board", "verify"]) == 0


def test_an_altered_bundle_is_not_sent(board: Folder, bundle: Path) -> None:
    data = bytearray(bundle.read_bytes())
    data[1000] ^= 1
    bundle.write_bytes(data)
    assert main(["remote", "me@board", "deploy", str(bundle)]) == 4
    assert list(board.home.iterdir()) == []
