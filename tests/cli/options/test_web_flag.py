"""``edgestill run --web``."""

import json
import sys
import threading
import urllib.request
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("starlette")

from edgestill.cli.main import main
from edgestill.cli.options import web_flag
from edgestill.demo.web.web_address import WebAddress

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the verb on an image; exit code, stdout, stderr."""
    source = tmp_path / "street.png"
    cv2.imwrite(str(source), np.full((64, 64, 3), 90, np.uint8))

    def call(*flags: str, model: Path = tiny_model) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["run", str(model), "--source", str(source), *flags])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def test_the_address_is_told_and_the_run_ends_with_its_server(run: Run) -> None:
    code, out, err = run("--web", "0")
    assert (code, json.loads(out)["frames"]) == (0, 1)
    assert "web view: http://127.0.0.1:" in err
    assert "token" not in err
    assert [thread.name for thread in threading.enumerate() if thread.name in {"web", "jpeg"}] == []


def test_in_the_network_the_address_has_a_token(run: Run) -> None:
    _, _, err = run("--web", "0.0.0.0:0")
    assert "/?token=" in err


def test_a_port_in_use_is_two_lines_before_the_model_is_read(run: Run, tmp_path: Path) -> None:
    with closing(WebAddress.parse("0").listen()) as taken:
        port = taken.getsockname()[1]
        code, out, err = run("--web", str(port), model=tmp_path / "gone.onnx")
    assert (code, out) == (2, "")
    first, second = err.splitlines()
    assert first == f"edgestill run: --web: port {port} of 127.0.0.1 is in use"
    assert second.startswith("  hint: ")


def test_what_is_no_address_is_two_lines(run: Run) -> None:
    code, _, err = run("--web", "http://x")
    assert (code, len(err.splitlines())) == (2, 2)
    assert "--web http://x is not [HOST:]PORT" in err


@pytest.mark.parametrize("library", ["starlette", "uvicorn", "prometheus_client"])
def test_without_its_libraries_the_extra_is_named(
    run: Run, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = [name for name in sys.modules if name.startswith("edgestill.demo.web.")]
    for name in [*ours, *(name for name in sys.modules if name.partition(".")[0] == library)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    code, _, err = run("--web", "0")
    assert code == 5
    assert f"--web needs {library!r}, which is not installed" in err
    assert "[web]" in err


def test_who_looks_sees_the_run_and_changes_its_threshold(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The requests are sent from within the run, after its last frame."""
    seen: dict[str, Any] = {}
    watch = web_flag.watch

    def watched(view: Any, *others: Any) -> Any:
        made = watch(view, *others)
        (sink,) = made.sinks
        write = sink.write

        def write_and_look(*result: Any) -> bool:
            write(*result)
            seen["state"] = json.load(urllib.request.urlopen(f"{view.url}state"))
            wanted = urllib.request.Request(f"{view.url}controls", b'{"conf": 0.7}')
            seen["controls"] = json.load(urllib.request.urlopen(wanted))
            seen["conf"] = others[1].conf
            return True

        monkeypatch.setattr(sink, "write", write_and_look)
        return made

    monkeypatch.setattr(web_flag, "watch", watched)
    assert run("--web", "0", "--conf", "0.3")[0] == 0
    (source,) = seen["state"]["sources"]
    assert (source["name"], source["found"]) == ("street.png", {"red": 1})
    assert (seen["state"]["conf"], seen["controls"]["conf"], seen["conf"]) == (0.3, 0.7, 0.7)
