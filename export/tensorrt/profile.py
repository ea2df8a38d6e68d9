"""Optimisation profiles: for what sizes of its input an engine is built, where the graph leaves some free."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgestill.errors import UsageError
from edgestill.spec import ModelSpec
from export.tensorrt.options import EngineOptions

if TYPE_CHECKING:
    from export.graph.interface import Interface

BATCHES = (1, 1, 8)
#: Least and most height and width where none are given, as shares of the file's own: an engine takes memory
#: for the largest, and at twice the sides that is four times as much.
LEAST_SHARE, MOST_SHARE = 0.5, 1.5

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Shapes of an engine's one input.

    Attributes:
        least: The smallest that it takes.
        best: The one that its kernels are chosen for.
        most: The largest, which its memory is made for.
    """

    least: Shape
    best: Shape
    most: Shape

    def to_json(self) -> list[list[int]]:
        """Plain JSON data; ``from_json`` is its inverse."""
        return [list(self.least), list(self.best), list(self.most)]

    @classmethod
    def from_json(cls, data: Sequence[Sequence[int]] | None) -> Profile | None:
        """Rebuild a profile from ``to_json``'s data; None stays None."""
        if data is None:
            return None
        least, best, most = (tuple(shape) for shape in data)
        return cls(least=least, best=best, most=most)


def fit(spec: ModelSpec, interface: Interface, options: EngineOptions) -> tuple[Interface, Profile | None]:
    """The form and the profile of an engine; no profile where all sizes are fixed.

    TensorRT before 8.6 wants the number of a TopK's rows in the file: so the form has as many as the smallest
    input gives.

    Args:
        spec: The network's contract; its size and a single image must be within the profile.
        interface: What is wanted.
        options: What is wanted of the profile.

    Raises:
        UsageError: The profile is about sizes that are fixed, or does not hold the file's own.
    """
    if options.batches and interface.batch is not None:
        raise _fixed("--profile-batch", "batch")
    if options.sizes and not interface.free_hw:
        raise _fixed("--profile-size", "size")
    if not interface.is_free:
        return interface, None
    if options.dla_core is not None:
        raise UsageError("a DLA runs fixed sizes only", hint="leave --dynamic or --dla out")
    batches = (interface.batch,) * 3 if interface.batch is not None else options.batches or BATCHES
    sizes = (options.sizes or _sizes(spec)) if interface.free_hw else (spec.input_hw,) * 3
    if batches[0] != 1 and interface.batch is None:
        raise UsageError(
            f"a profile from {batches[0]} images on does not take one",
            hint=f"--profile-batch 1,{batches[1]},{batches[2]}, or --batch N for a fixed number",
        )
    _check_sizes(spec, sizes)
    shapes = [_shape(n, hw, interface) for n, hw in zip(batches, sizes, strict=True)]
    if interface.free_hw:
        rows = min(interface.rows, spec.resized(sizes[0]).cells)
        interface = replace(interface, least_hw=sizes[0], rows=rows)
    return interface, Profile(least=shapes[0], best=shapes[1], most=shapes[2])


def _fixed(flag: str, what: str) -> UsageError:
    return UsageError(f"{flag} is for a free {what}", hint=f"add --dynamic {what}, or leave it out")


def _sizes(spec: ModelSpec) -> tuple[tuple[int, int], ...]:
    step = max(spec.strides)

    def share(factor: float) -> tuple[int, int]:
        height, width = (max(step, int(side * factor) // step * step) for side in spec.input_hw)
        return height, width

    return share(LEAST_SHARE), spec.input_hw, share(MOST_SHARE)


def _check_sizes(spec: ModelSpec, sizes: Sequence[tuple[int, int]]) -> None:
    """The file's own size must be within, since that is what is run where nothing else is said."""
    least, _, most = sizes
    if not all(low <= own <= high for low, own, high in zip(least, spec.input_hw, most, strict=True)):
        height, width = spec.input_hw
        raise UsageError(
            f"the profile does not hold the file's own size {height}x{width}",
            hint=f"--imgsz for another one, or --profile-size with {height}x{width} between its ends",
        )


def _shape(batch: int, hw: tuple[int, int], interface: Interface) -> Shape:
    return (batch, *hw, 3) if interface.pixels == "uint8" else (batch, 3, *hw)
