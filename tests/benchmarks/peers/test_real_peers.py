"""The real other programs, where ``make peers`` has installed them."""

import json
from pathlib import Path

import pytest

from benchmarks.peers.environments import ENVIRONMENTS, program_of
from edgestill.cli.main import main
from edgestill.errors import DeviceError

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def peers() -> Path:
    """The folder of the environments."""
    try:
        for name, environment in ENVIRONMENTS.items():
            for program in environment.needed:
                program_of(name, program, ROOT / ".peers")
    except DeviceError as error:
        pytest.skip(f"{error.what}: {error.hint}")
    return ROOT / ".peers"


@pytest.mark.slow
def test_every_row_is_measured_and_scored_with_the_real_programs(
    peers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenes, out = tmp_path / "scenes", tmp_path / "peers.json"
    assert main(["data", "synth", "--out", str(scenes), "--images", "20", "--seed", "11"]) == 0
    words = ["bench", "student", "--peers", str(peers), "--data", str(scenes / "data.yaml"), "--threads", "1"]
    words += ["--work", str(tmp_path / "work"), "--rounds", "1", "--out", str(out)]
    assert main(words) == 0
    result = json.loads(out.read_text())
    assert result["complete"]
    assert [(row["file"], row["missing"]) for row in result["rows"] if row["missing"]] == []
    for row in result["rows"]:
        assert row["time_ms"] > 0
        assert row["ratio"] > 0
        assert row["map50_95"] is not None
        if row["program"] in {"edgestill", "yolo predict"}:
            assert row["frame_ms"] > row["time_ms"]
        if row["precision"] == "int8":
            assert row["agreement_map50_95"] is not None
    by_file = {row["file"]: row for row in result["rows"] if row["program"] == "edgestill"}
    assert by_file["ov-int8.xml"]["agreement_map50_95"] > 0.8
    capsys.readouterr()
    assert main([*words, "--force"]) == 0  # nothing is left to do
    again = json.loads(capsys.readouterr().out)
    assert [row["turns"] for row in again["rows"]] == [row["turns"] for row in result["rows"]]
