"""What must hold for any estimate of a latency."""

from collections.abc import Iterator, Mapping
from itertools import pairwise

import pytest

from benchmarks.estimate.estimate import Case, estimate
from benchmarks.estimate.fitted import shipped
from benchmarks.estimate.latency_model import latency_ms, machine, terms
from benchmarks.estimate.published_latencies import usable_rows
from benchmarks.estimate.yolo_models import FAMILIES, published_model
from devices.profile import DeviceProfile, load_profile, load_profiles
from edgestill.errors import DeviceError, UsageError
from edgestill.spec import PRECISIONS, Precision


def supported() -> Iterator[tuple[DeviceProfile, Precision]]:
    for profile in load_profiles():
        for precision in PRECISIONS:
            try:
                machine(profile, precision)
            except DeviceError:
                continue
            yield profile, precision


SUPPORTED = list(supported())
WORKS: Mapping[str, list[str]] = {
    name: [name.replace("?", size) for size in family.sizes] for name, family in FAMILIES.items()
}


def ms(model: str, device: str, precision: Precision, **options: bool | int) -> float:
    work = published_model(model)
    return latency_ms(
        terms(work, machine(load_profile(device), precision), precision, **options),  # type: ignore[arg-type]
        shipped().costs,
    )


def test_no_published_latency_is_faster_than_the_peak_of_its_unit() -> None:
    rows = usable_rows()
    assert len(rows) > 80
    assert {row.device: row.achieved for row in rows if not 0 < row.achieved <= 1} == {}


def test_most_devices_are_covered() -> None:
    assert len({profile.key for profile, _ in SUPPORTED}) > 70


@pytest.mark.parametrize("family", WORKS)
def test_a_larger_model_of_a_family_takes_longer(family: str) -> None:
    works = [published_model(name) for name in WORKS[family]]
    for profile, precision in SUPPORTED:
        on = machine(profile, precision)
        found = [latency_ms(terms(work, on, precision), shipped().costs) for work in works]
        assert all(small < large for small, large in pairwise(found)), (profile.key, precision)


def test_a_narrower_precision_is_not_slower_where_tensor_cores_have_it() -> None:
    compared = 0
    for profile, precision in SUPPORTED:
        if machine(profile, precision).unit not in {"fp16_tensor", "int8_tensor"}:
            continue
        wider = PRECISIONS[PRECISIONS.index(precision) - 1]
        for model in ("yolov5n", "yolov5x", "yolov8s", "yolo11m"):
            assert ms(model, profile.key, precision) <= ms(model, profile.key, wider), (profile.key, model)
            compared += 1
    assert compared > 200


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_faster_clock_and_memory_is_faster(precision: Precision) -> None:
    pairs = [
        ("jetson-orin-nano-super", "jetson-orin-nano"),
        ("jetson-agx-orin", "jetson-orin-nx"),
        ("jetson-orin-nano", "jetson-orin-nano-4gb"),
        ("a100-80gb", "t4"),
    ]
    for fast, slow in pairs:
        assert ms("yolov5s", fast, precision) < ms("yolov5s", slow, precision), (fast, slow)


def test_a_batch_takes_less_time_for_each_image() -> None:
    found = [ms("yolov5s", "t4", "fp16", batch=batch) for batch in (1, 2, 8, 32)]
    assert found == sorted(found, reverse=True)
    assert 32 * found[-1] > found[0]


def test_tf32_is_used_by_default_and_can_be_turned_off() -> None:
    work, orin = published_model("yolov5m"), load_profile("jetson-agx-orin")
    with_it, without = (estimate(work, orin, Case(precision="fp32", tf32=tf32)) for tf32 in (True, False))
    assert with_it.latency_ms < without.latency_ms
    assert (with_it.basis["unit"], without.basis["unit"]) == ("tf32", "fp32")
    assert "--no-tf32" in with_it.basis["notes"][0]


def test_a_lower_power_mode_is_slower() -> None:
    orin, work = load_profile("jetson-agx-orin"), published_model("yolov5m")
    found = [
        estimate(work, orin.in_mode(mode), Case(precision="fp16")).latency_ms
        for mode in ("MAXN", "50W", "30W", "15W")
    ]
    assert found == sorted(found)
    assert len(set(found)) == 4


def test_the_interval_holds_the_estimate() -> None:
    found = estimate(published_model("yolov5n"), load_profile("t4"), Case(precision="fp16"))
    assert found.kind == "estimate"
    assert 0 < found.gpu_ms < found.latency_ms
    assert found.low_ms < found.latency_ms < found.high_ms
    assert found.high_ms / found.latency_ms == pytest.approx(shipped().interval_factor, rel=0.01)


@pytest.mark.parametrize(
    ("device", "precision", "why"),
    [
        ("jetson-nano", "int8", "no units for int8"),
        ("gtx-1080", "fp16", "no units for fp16"),
        ("generic-x86", "fp32", "too few published latencies of CPUs"),
        ("raspberry-pi-5", "fp32", "too few published latencies of CPUs"),
        ("jetson-thor-t4000", "fp16", "not known"),
    ],
)
def test_a_device_that_is_not_covered_is_refused(device: str, precision: Precision, why: str) -> None:
    with pytest.raises(DeviceError, match=why):
        estimate(published_model("yolov5n"), load_profile(device), Case(precision=precision))


@pytest.mark.parametrize(
    ("model", "input_hw", "batch", "why"),
    [
        ("yolov5n", (160, 160), 1, "megapixels"),
        ("yolov5n", (2048, 2048), 1, "megapixels"),
        ("yolov5n", (640, 640), 65, "batch"),
        ("yolov5n", (320, 160), 1, "megapixels"),
    ],
)
def test_what_is_far_from_all_fitted_rows_is_refused(
    model: str, input_hw: tuple[int, int], batch: int, why: str
) -> None:
    with pytest.raises(UsageError, match=why):
        estimate(published_model(model, input_hw), load_profile("t4"), Case(precision="fp16", batch=batch))


def test_every_published_model_can_be_estimated_at_its_own_size() -> None:
    for names in WORKS.values():
        for name in names:
            found = estimate(published_model(name), load_profile("jetson-agx-orin"), Case(precision="fp16"))
            assert 1 < found.latency_ms < 200, name
