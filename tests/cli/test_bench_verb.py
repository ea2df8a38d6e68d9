"""``edgestill bench``."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from edgestill.cli.main import main
from edgestill.cli.verbs import bench

SHORT = ["--duration-s", "0", "--min-samples", "8", "--warmup-s", "0", "--threads", "1"]


@pytest.fixture(scope="module")
def measured(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that one run wrote; the run is a process of its own, which tells what it imported."""
    out = tmp_path_factory.mktemp("bench") / "result.json"
    words = ["bench", str(tiny_model), *SHORT, "--out", str(out)]
    code = f"import sys; from edgestill.cli.main import main; main({words!r}); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    out.with_name("stdout.txt").write_text(done.stdout)
    return out


def test_the_contract_of_the_result_is_kept(measured: Path) -> None:
    (model,) = json.loads(measured.read_text())["models"]
    wanted = {"p50_ms", "p90_ms", "p99_ms", "samples", "stages_ms", "throughput_fps", "rss_mib"}
    more = {"cold_start_ms", "energy_mj", "precision_proved", "environment", "doubts"}
    assert wanted | more <= set(model)


def test_the_result_names_its_file_and_the_command_that_repeats_it(measured: Path, tiny_model: Path) -> None:
    result = json.loads(measured.read_text())
    assert result["out"] == str(measured)
    short = "--duration-s 0 --min-samples 8 --warmup-s 0 --threads 1"
    assert result["command"] == f"edgestill bench {tiny_model} {short}"


@pytest.mark.slow
def test_the_command_trusts_the_engine_that_was_trusted_and_quotes_its_words(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "a model's file.onnx"
    model.write_bytes(tiny_model.read_bytes())
    assert main(["bench", str(model), *SHORT, "--trust-engine"]) == 0
    command = json.loads(capsys.readouterr().out)["command"]
    assert shlex.split(command) == ["edgestill", "bench", str(model), *SHORT, "--trust-engine"]


def test_no_training_library_is_imported(measured: Path) -> None:
    modules = measured.with_name("stdout.txt").read_text().splitlines()[-1].split()
    assert "onnxruntime" in modules
    assert not {"torch", "ultralytics", "distill"} & set(modules)


def test_a_person_gets_a_table(measured: Path) -> None:
    console = Console(width=220, record=True)
    console.print(bench.show(json.loads(measured.read_text())))
    text = console.export_text()
    assert "1 float32" in text
    assert "energy: not measured, because " in text
    assert "during the run: " in text
    assert "drawn test pattern" in text


def test_a_result_is_not_replaced_without_force(
    measured: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", str(tiny_model), *SHORT, "--out", str(measured)]) == 2
    assert "exists already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code"),
    [
        pytest.param(["missing.onnx"], 4, id="missing-model"),
        pytest.param(["MODEL", "--source", "missing.mp4"], 3, id="missing-source"),
        pytest.param(["MODEL", "--source", "0"], 5, id="camera-that-is-not-there"),
        pytest.param(["MODEL", "--backend", "orrt"], 2, id="unknown-backend"),
        pytest.param(["MODEL", "--threads", "0"], 2, id="no-threads"),
        pytest.param(["MODEL", "--device", "cuda:7"], 5, id="device-that-is-not-there"),
        pytest.param(["MODEL", "--scenario", "online"], 2, id="unknown-scenario"),
        pytest.param(["MODEL", "--min-samples", "0"], 2, id="no-samples"),
        pytest.param(["MODEL", "--imgsz", "100"], 2, id="no-size"),
        pytest.param(["MODEL", "--imgsz", "0"], 2, id="a-size-of-nothing"),
        pytest.param(["MODEL", "--imgsz", "64"], 2, id="another-size-of-a-fixed-file"),
        pytest.param([], 2, id="no-model"),
    ],
)
def test_each_mistake_has_its_exit_code(
    words: list[str],
    code: int,
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["bench", *(str(tiny_model) if word == "MODEL" else word for word in words)]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("edgestill bench: ")
    assert err.count("\n") == 2
