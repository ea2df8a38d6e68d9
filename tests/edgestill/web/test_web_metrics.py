"""The figures for Prometheus."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("starlette")
parser = pytest.importorskip("prometheus_client.parser")


def samples(served: Any) -> dict[tuple[str, ...], float]:
    """Each sample by its name and its labels' values."""
    answer = served.ask("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = parser.text_string_to_metric_families(answer.body.decode())
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_frames_ages_stages_detections_and_lights_are_there(
    serve: Callable[..., Any], make_result: Callable[..., Any]
) -> None:
    served = serve()
    served.sources["cam"].dropped = 7
    for index in range(4):
        served.sink.write(
            make_result(
                index, (0, 0.9), (2, 0.8), track_id=np.array([1, 2]), states=("red", "unknown"), age_ms=30.0
            ),
            None,
        )
    found = samples(served)
    assert found["edgestill_frames_total", "cam"] == 4
    assert found["edgestill_frames_dropped_total", "replaced", "cam"] == 7
    assert found["edgestill_frame_age_seconds_count", "cam"] == 4
    assert found["edgestill_frame_age_seconds_sum", "cam"] == pytest.approx(0.12)
    assert found["edgestill_frame_age_seconds_bucket", "0.02", "cam"] == 0
    assert found["edgestill_frame_age_seconds_bucket", "0.05", "cam"] == 4
    assert found["edgestill_stage_seconds_sum", "cam", "inference"] == pytest.approx(0.036)
    assert found["edgestill_detections_total", "green", "cam"] == 4
    assert found["edgestill_lights", "cam", "red"] == 1
    assert found["edgestill_lights", "cam", "unknown"] == 1
    assert found["edgestill_lights", "cam", "green"] == 0
    assert found["edgestill_source_up", "cam"] == 1
    assert found["edgestill_seconds_since_frame", "cam"] >= 0


def test_threshold_and_pause_are_there(serve: Callable[..., Any]) -> None:
    served = serve()
    served.controls.change(conf=0.4, paused=True)
    found = samples(served)
    assert found["edgestill_confidence_threshold",] == 0.4
    assert found["edgestill_paused",] == 1
    assert found["edgestill_source_up", "cam"] == 0  # no frame yet
    assert found["edgestill_run_info", "ort", "CPU", "student", "1.2.3"] == 1


def test_a_file_has_neither_ages_nor_drops(
    serve: Callable[..., Any], make_source: Callable[..., Any], make_result: Callable[..., Any]
) -> None:
    served = serve(clip=make_source(is_live=False))
    served.sink.write(make_result(is_live=False), None)
    names = {key[0] for key in samples(served)}
    assert "edgestill_frames_total" in names
    assert not names & {"edgestill_frame_age_seconds_count", "edgestill_frames_dropped_total"}
    assert "edgestill_lights" not in names
