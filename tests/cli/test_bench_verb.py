"""``edgestill bench``."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.measure import cold
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
    assert "pure inference: the call of the backend ort; end to end: decode + letterbox + inference" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--scenario paced --fps 100", "tiny.onnx: age at the decision p50"),
        ("--scenario multi --streams 2 --fps 100", "frames dropped; the detector was busy for"),
        ("--scenario offline", "end to end: letterbox + inference + postprocess; not measured, because with"),
        (
            "--preset mlperf-single-stream",
            "MLPerf's SingleStream, no official result, shorter than",
        ),
        ("--stages all", "encoding"),
    ],
)
def test_each_scenario_is_measured_and_shown(
    words: str,
    said: str,
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("benchmarks.measure.cold.measure", lambda *_, **__: dict.fromkeys(cold.KEYS, 1.0))
    assert main(["bench", str(tiny_model), *SHORT, *words.split()]) == 0
    result = json.loads(capsys.readouterr().out)
    assert set(words.split()) < set(result["command"].split())
    (model,) = result["models"]
    assert set(model["stages_reason"]) == {s for s, ms in model["stages_ms"].items() if ms is None}
    console = Console(width=260, record=True)
    console.print(bench.show(result))
    assert said in console.export_text()


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
        pytest.param(["MODEL", "--scenario", "paced", "--fps", "0"], 2, id="no-frames-a-second"),
        pytest.param(["MODEL", "--scenario", "multi", "--streams", "0"], 2, id="no-cameras"),
        pytest.param(["MODEL", "--fps", "10"], 2, id="rate-without-a-camera"),
        pytest.param(["MODEL", "--scenario", "paced", "--interleave"], 2, id="a-camera-does-not-take-turns"),
        pytest.param(["MODEL", "--scenario", "paced", "--stages", "all"], 2, id="stages-of-a-camera"),
        pytest.param(["MODEL", "--preset", "mlperf-offline", "--scenario", "multi"], 2, id="two-scenarios"),
        pytest.param(["MODEL", "--min-samples", "0"], 2, id="no-samples"),
        pytest.param(["MODEL", "--imgsz", "100"], 2, id="no-size"),
        pytest.param(["MODEL", "--imgsz", "0"], 2, id="a-size-of-nothing"),
        pytest.param(["MODEL", "--imgsz", "64"], 2, id="another-size-of-a-fixed-file"),
        pytest.param(["MODEL", "--processes", "-1"], 2, id="processes-below-none"),
        pytest.param(["MODEL", "--processes", "2", "--scenario", "offline"], 2, id="processes-offline"),
        pytest.param(["MODEL", "--build", "MODEL", "MODEL"], 2, id="builds-without-processes"),
        pytest.param(
            ["MODEL", "--processes", "2", "--build", "x.onnx", "MODEL"], 2, id="build-of-another-model"
        ),
        pytest.param(
            ["MODEL", "--processes", "2", "--build", "MODEL", "missing.onnx"], 4, id="build-that-is-missing"
        ),
        pytest.param(["MODEL", "--baseline", "missing.json"], 3, id="missing-baseline"),
        pytest.param(["MODEL", "--baseline", "b.json", "--scenario", "offline"], 2, id="baseline-offline"),
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


def test_a_slower_model_than_in_the_baseline_exits_with_six_and_prints_the_result(
    measured: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["bench", str(tiny_model), *SHORT, "--min-samples", "32", "--baseline"]
    times = json.loads(measured.read_text())
    for scale, code in ((1e-3, 6), (1e3, 0)):  # no noise makes a model a thousand times as slow
        times["models"][0]["rounds"] = [k // 4 for k in range(32)]
        times["models"][0]["samples_ms"] = {
            stage: [scale] * 32 for stage in ("decode", "letterbox", "inference", "postprocess")
        }
        times["models"][0]["environment"]["calibration_ms"] = None
        baseline = tmp_path / f"{code}.json"
        baseline.write_text(json.dumps(times))
        assert main([*words, str(baseline)]) == code
        out, err = capsys.readouterr()
        found = json.loads(out)["baseline"]
        assert [c["verdict"] for c in found["comparisons"]] == ["slower" if code else "faster"] * 2
        is_said = "edgestill bench: tiny.onnx, frame: " in err and "hint: measure both versions" in err
        assert is_said == bool(code)
    assert "--baseline" not in json.loads(out)["command"]


def test_another_build_of_a_model_takes_turns_with_it_in_fresh_processes(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "again.onnx"
    other.write_bytes(tiny_model.read_bytes() + b"")
    words = [*SHORT, "--processes", "2", "--build", str(tiny_model), str(other)]
    assert main(["bench", str(tiny_model), *words]) == 0
    result = json.loads(capsys.readouterr().out)
    (model,) = result["models"]
    assert sorted(set(model["processes"])) == [0, 1]
    assert model["builds"] == 1  # a copy is no other build
    assert len(model["steady_state"]["warmup_runs"]) == 2
    assert shlex.split(result["command"])[3:] == words
