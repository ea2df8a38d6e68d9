"""What differs between the conditions of two bench results, and how much of a ratio that explains."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SEPARATE = "measured in two runs: changes between them affect the ratio; bench A B --interleave avoids that"
#: Conditions of a run, by the keys that lead to them in ``environment``.
ENVIRONMENT = {
    "the machine": ("machine", "title"),
    "how frames arrived": ("arrival",),
    "the number of threads": ("threads",),
    "library versions": ("versions",),
    "what CUDA is called by": ("cuda_calls",),
    "the memory of an engine's tensors": ("cuda_memory",),
    "the use of a CUDA graph": ("cuda_graph",),
}
#: Conditions of a model.
SETTINGS = {
    "the input size": "input_hw",
    "the device": "device",
    "the tiling": "tile",
    "the overlap of tiles": "tile_overlap",
    "the score threshold": "conf",
    "the IoU threshold": "iou",
}
#: Runs end by time, so that they rarely take equally many frames. If one has less than this share of the
#: other's frames, it may have missed the crowded ones.
LEAST_SHARE = 0.5

#: Conditions that change times by an unknown amount, by their keys in ``environment``.
_UNBOUNDED = {
    "the power mode": ("machine", "jetson", "power_mode"),
    "the frequency governor": ("machine", "cpu", "governor"),
}
#: Libraries that run a model, by backend; others take part in the rest of a frame.
_LIBRARIES = {
    "ort": ("onnxruntime", "onnxruntime-gpu"),
    "ov": ("openvino",),
    "trt": ("tensorrt", "tensorrt-rtx"),
}
_FRAME_LIBRARIES = ("numpy", "opencv-python")
#: Relative differences of a median clock, and of the fixed workload, that mean nothing.
_CLOCK_NOISE, _WORKLOAD_NOISE = 0.02, 0.05

Result = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Explanation:
    """A condition that differs, and the ratios of times that it alone can bring about.

    Attributes:
        reason: What differs, as a sentence.
        low: Smallest ratio of B's time to A's that it explains, 1 or less.
        high: Largest, 1 or more.
    """

    reason: str
    low: float = 0.0
    high: float = math.inf


def find_differences(a: Result, b: Result, pairs: Sequence[tuple[Result, Result]]) -> list[str]:
    """Reasons why two results may not be comparable, as sentences.

    Args:
        a: The baseline.
        b: The other.
        pairs: The models that are compared.
    """
    found = [SEPARATE]
    for what, keys in ENVIRONMENT.items():
        one, other = (_value(result["models"][0].get("environment"), keys) for result in (a, b))
        if one != other:
            found.append(f"{what} differs: {one} / {other}")
    for first, second in pairs:
        found += [
            f"{what} differs: {first[key]} of {first['name']} / {second[key]} of {second['name']}"
            for what, key in SETTINGS.items()
            if key in first and key in second and first[key] != second[key]
        ]
    return [*found, *_of_frames(a.get("footage"), b.get("footage"))]


def find_explanations(a: Result, b: Result, measure: str) -> list[Explanation]:
    """Conditions of two models of separate runs on one machine that explain a difference between their times.

    Of different machines there are none: power mode, clocks and libraries belong to what is compared.

    Args:
        a: The reference, an entry of ``models``.
        b: The model that is compared with it.
        measure: ``"frame"`` or ``"inference"``.
    """
    one, other = (model.get("environment") or {} for model in (a, b))
    if _value(one, ENVIRONMENT["the machine"]) != _value(other, ENVIRONMENT["the machine"]):
        return []
    pairs = {what: (_value(one, keys), _value(other, keys)) for what, keys in _UNBOUNDED.items()}
    pairs |= {
        f"the version of {name}": (_value(one, ("versions", name)), _value(other, ("versions", name)))
        for name in _libraries(a, b, measure)
    }
    found = [Explanation(f"{what} differs: {x} / {y}") for what, (x, y) in pairs.items() if x != y]
    return [*found, *_of_clocks(a, b)]


def _libraries(a: Result, b: Result, measure: str) -> tuple[str, ...]:
    """Libraries that both models run on, so that they are no part of what is compared."""
    backends = {str(model.get("backend")) for model in (a, b)}
    shared = _LIBRARIES.get(next(iter(backends)), ()) if len(backends) == 1 else ()
    return ("edgestill", *shared, *(_FRAME_LIBRARIES if measure == "frame" else ()))


def _of_clocks(a: Result, b: Result) -> Iterator[Explanation]:
    """Clocks that differ, and the time of the CPU's fixed workload; both bound what they explain."""
    one, other = (_value(model, ("environment", "monitors", "clocks_mhz")) or {} for model in (a, b))
    on_gpu = any("cuda" in str(model.get("device")).lower() for model in (a, b))
    for name in one:
        x, y = (_value(clocks, (name, "median")) for clocks in (one, other))
        if x and y and (on_gpu or "gpu" not in name) and abs(x / y - 1) >= _CLOCK_NOISE:
            yield _bounded(f"the clock of {name} differs: {x:.0f} / {y:.0f} MHz", x / y)
    x, y = (_value(model, ("environment", "calibration_ms", "median")) for model in (a, b))
    if x and y and not on_gpu and abs(y / x - 1) >= _WORKLOAD_NOISE:
        yield _bounded(f"a fixed workload took {x:.3g} / {y:.3g} ms", y / x)


def _bounded(what: str, ratio: float) -> Explanation:
    low, high = min(1.0, ratio), max(1.0, ratio)
    return Explanation(f"{what}, which explains ratios of {low:.2f} to {high:.2f}", low, high)


def _value(data: Any, keys: Sequence[str]) -> Any:
    for key in keys:
        data = data.get(key) if isinstance(data, Mapping) else None
    return data


def _of_frames(a: Any, b: Any) -> Iterator[str]:
    """What differs between the frames of two runs."""
    if not (isinstance(a, Mapping) and isinstance(b, Mapping)):
        if a != b:
            yield "the frames differ: one result does not say on which it was measured"
        return
    same, sources = _same_source(a, b), [footage.get("source") for footage in (a, b)]
    if not same:
        what = "the source of the frames" if sources[0] != sources[1] else "the content of the source"
        yield f"{what} differs: {sources[0]} / {sources[1]}"
    sizes = [_sizes(footage.get("sizes_hw")) for footage in (a, b)]
    if sizes[0] != sizes[1]:
        yield f"the sizes of the frames differ: {sizes[0]} / {sizes[1]}"
    counts = [count for footage in (a, b) if isinstance(count := footage.get("frames"), int)]
    if same and len(counts) == 2 and min(counts) < LEAST_SHARE * max(counts):
        yield f"the number of different frames of {sources[0]} differs: {counts[0]} / {counts[1]}"


def _same_source(a: Result, b: Result) -> bool:
    """Whether both ran on the same files; by their names and lengths, or by path in older results."""
    if a.get("content") and b.get("content"):
        return bool(a["content"] == b["content"])
    return Path(str(a.get("source"))) == Path(str(b.get("source")))


def _sizes(value: Any) -> str:
    sizes = value if isinstance(value, list) else []
    return (
        ", ".join("x".join(map(str, hw)) if isinstance(hw, list) else str(hw) for hw in sizes) or "not stated"
    )


def shared_doubts(models: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Each doubt of some models of a result once, with their names; empty if it is about all of them."""
    about: dict[str, list[str]] = {}
    for model in models:
        for doubt in model.get("doubts", ()):
            about.setdefault(doubt, []).append(model["name"])
    return [(d, "" if len(names) == len(models) else ", ".join(names)) for d, names in about.items()]
