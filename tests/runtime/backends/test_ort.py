"""What only ONNX Runtime does."""

from pathlib import Path

import pytest

from runtime.backend import open_backend


@pytest.mark.parametrize(
    ("threads", "cores", "concurrency"),
    [
        pytest.param(None, 2, 2, id="each core runs one"),
        pytest.param(None, 20, 8, id="many cores share the most"),
        pytest.param(3, 20, 3, id="no more threads than asked for"),
        pytest.param(1, 20, 1, id="one thread"),
    ],
)
def test_threads_are_divided_among_runs_at_the_same_time(
    threads: int | None, cores: int, concurrency: int, lamp_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.backends.ort.usable_cores", lambda: cores)
    loaded = open_backend(lamp_model, "ort", threads=threads, throughput=True)
    assert loaded.concurrency == concurrency
    assert open_backend(lamp_model, "ort", threads=threads).concurrency == 1
