"""Optimisation profiles: the input shapes for which an engine is built from a graph with free dimensions."""

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
#: Default smallest and largest height and width, as shares of the file's own. An engine allocates memory for
#: the largest, which at twice the sides is four times as much.
LEAST_SHARE, MOST_SHARE = 0.5, 1.5

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Shapes of an engine's input.

    Attributes:
        least: The smallest.
        best: The one for which kernels are optimised.
        most: The largest, for which memory is allocated.
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
    """Choose the interface and the profile of an engine.

    TensorRT before 8.6 needs a constant number of rows of TopK: the interface has as many as the smallest
    input gives.

    Args:
        spec: Of the network; its input size and a single image must be within the profile.
        interface: The requested interface.
        options: Have the requested shapes.

    Returns:
        The interface, and the profile; None if no dimension is free.

    Raises:
        UsageError: The profile is for fixed dimensions, or does not contain the file's own size.
    """
    if options.batches and interface.batch is not None:
        raise _fixed("--profile-batch", "batch")
    if options.sizes and not interface.free_hw:
        raise _fixed("--profile-size", "size")
    if not interface.is_free:
        return interface, None
    if options.dla_core is not None:
        raise UsageError("a DLA supports fixed shapes only", hint="leave --dynamic or --dla out")
    batches = (interface.batch,) * 3 if interface.batch is not None else free_batches(options)
    sizes = (options.sizes or _sizes(spec)) if interface.free_hw else (spec.input_hw,) * 3
    _check_sizes(spec, sizes)
    shapes = [_shape(n, hw, interface) for n, hw in zip(batches, sizes, strict=True)]
    if interface.free_hw:
        rows = min(interface.rows, spec.resized(sizes[0]).cells)
        interface = replace(interface, least_hw=sizes[0], rows=rows)
    return interface, Profile(least=shapes[0], best=shapes[1], most=shapes[2])


def free_batches(options: EngineOptions, default: tuple[int, ...] = BATCHES) -> tuple[int, ...]:
    """Smallest, optimal and largest batch of a free one.

    Raises:
        UsageError: A single image is not within the profile.
    """
    batches = options.batches or default
    if batches[0] != 1:
        raise UsageError(
            f"a profile from {batches[0]} images on does not contain a single image",
            hint=f"--profile-batch 1,{batches[1]},{batches[2]}; detectors also take a fixed --batch N",
        )
    return batches


def _fixed(flag: str, what: str) -> UsageError:
    return UsageError(f"{flag} is for a free {what}", hint=f"add --dynamic {what}, or leave it out")


def _sizes(spec: ModelSpec) -> tuple[tuple[int, int], ...]:
    step = max(spec.strides)

    def share(factor: float) -> tuple[int, int]:
        height, width = (max(step, int(side * factor) // step * step) for side in spec.input_hw)
        return height, width

    return share(LEAST_SHARE), spec.input_hw, share(MOST_SHARE)


def _check_sizes(spec: ModelSpec, sizes: Sequence[tuple[int, int]]) -> None:
    """Raise UsageError unless the profile contains the file's own size, which is the default at run time."""
    least, _, most = sizes
    if not all(low <= own <= high for low, own, high in zip(least, spec.input_hw, most, strict=True)):
        height, width = spec.input_hw
        raise UsageError(
            f"the profile does not contain the file's own size {height}x{width}",
            hint=f"--imgsz for another one, or --profile-size with {height}x{width} between its ends",
        )


def _shape(batch: int, hw: tuple[int, int], interface: Interface) -> Shape:
    return (batch, *hw, 3) if interface.pixels == "uint8" else (batch, 3, *hw)
