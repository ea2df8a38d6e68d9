"""What differs between the conditions of two bench results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

SEPARATE = "measured in two runs: changes between them affect the ratio; bench A B --interleave avoids that"
#: Conditions of a run, by the keys that lead to them in ``environment``.
ENVIRONMENT = {
    "the machine": ("machine", "title"),
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

Result = Mapping[str, Any]


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
