"""Where a network's numbers become bytes, and which: what a training with rounding and an export agree on.

An export says where its family of engines rounds and where the scales begin; a training moves the scales; the
checkpoint keeps them; the next export writes them as they are. Names are those of the exported graph's nodes
and tensors, which follow from the network's own, see ``edgestill.architecture``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgestill.errors import ArtifactError
from edgestill.target import QDQ_TARGETS, QdqTarget

#: The largest byte of a weight by the bits it is given: symmetric, so that zero is exact. An x86 CPU without
#: a dot product of bytes (VNNI) adds two products of an activation's byte and a weight's in 16 bits, and cuts
#: off what does not fit: 2 * 255 * 127 does not, 2 * 255 * 64 does.
WEIGHT_LEVELS: Mapping[int, int] = {7: 64, 8: 127}
#: What two weights of one sign may be together, where their products are added in 16 bits.
PAIR = 2 * WEIGHT_LEVELS[7]
#: Kernels take weights of this many input channels at a time, in two pairs.
CHANNELS_TAKEN = 4
PREFIX = "quantisation."  # of tensors beside the weights
STEPS, WEIGHT_STEPS = f"{PREFIX}steps", f"{PREFIX}weights."
HINT = "train it again, or copy the checkpoint again"

Tensors = Mapping[str, NDArray[Any]]


def has_pairs(shape: Sequence[int]) -> bool:
    """Whether it is known which weights are multiplied side by side: a convolution's, of enough channels."""
    return len(shape) == 4 and shape[1] > 0 and shape[1] % CHANNELS_TAKEN == 0


def pairs_of(weights: NDArray[Any]) -> NDArray[Any]:
    """What weights side by side are together, ``[out, pairs]``; two of different signs are taken as 0.

    Args:
        weights: ``[out, in, k, k]`` with ``has_pairs``. ONNX Runtime and OpenVINO order them channels last:
            side by side are channels 2i and 2i + 1 in one place of the kernel.
    """
    first, second = weights[:, ::2], weights[:, 1::2]
    together = np.where(first * second > 0, np.abs(first + second), 0)
    return np.asarray(together.reshape(len(weights), -1))


def needs_wide_sums(weights: NDArray[np.int8]) -> bool:
    """Whether products of weights in bytes may be beyond 16 bits where two are added there, see ``PAIR``."""
    wide = weights.astype(np.int32)
    if has_pairs(wide.shape):
        return bool(pairs_of(wide).max(initial=0) > PAIR)
    return bool(np.abs(wide).max(initial=0) > WEIGHT_LEVELS[7])


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightRange:
    """How large the bytes of weights may be.

    Attributes:
        largest: Of one byte.
        pair: Of two of one sign that are added in 16 bits, together; None where sums are wide.
    """

    largest: int
    pair: int | None = None

    def of(self, shape: Sequence[int]) -> WeightRange:
        """The limit of a layer, by the shape of its weights: of each one where pairs are not known."""
        if self.pair is None or has_pairs(shape):
            return self
        return WeightRange(largest=self.pair // 2)


#: Engines of TensorRT add products of bytes in 32 bits.
WIDE_SUMS = WeightRange(largest=WEIGHT_LEVELS[8])
ANY_CPU = WeightRange(largest=WEIGHT_LEVELS[8], pair=PAIR)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantParams:
    """The numbers that a byte can say: ``(byte - zero) * step``.

    Attributes:
        step: Between two neighbours; a float32 value.
        zero: The byte that stands for zero, 0 to 255; 128 of a signed byte, whose own zero that is.
        is_learnt: Whether a training moves the step; those of pixels and sigmoids are known.
    """

    step: float
    zero: int
    is_learnt: bool = True


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class QuantizationScheme:
    """All roundings of one network for one family of engines.

    Attributes:
        family: For whom.
        is_signed: Whether activations are signed bytes whose zero means zero, on tensors that are shifted so
            that it may; else unsigned ones with a zero point.
        has_integer_bias: Whether a bias is a whole number of products of a weight's and an activation's step.
        grids: By name. Tensors that meet in a concat share one.
        activations: By rounded tensor, the name of its grid.
        weights: By convolution that multiplies bytes, the step of each output channel, float32 ``[out]``.
        weight_limit: How large the bytes of weights may be.
        inputs: By such a convolution, the name of its input's grid.
        reads: By node, for each of its inputs the name of the grid that the node reads it rounded to; ``""``
            where it reads the number as it is, or one that is on its grid already.
        float_readers: Nodes that compute in float, and read tensors as they were before rounding.
        left_float: Why a tensor or convolution was left out.
    """

    family: QdqTarget
    is_signed: bool
    has_integer_bias: bool
    weight_limit: WeightRange
    grids: Mapping[str, QuantParams]
    activations: Mapping[str, str]
    weights: Mapping[str, NDArray[np.float32]]
    inputs: Mapping[str, str]
    reads: Mapping[str, tuple[str, ...]]
    float_readers: tuple[str, ...]
    left_float: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """All but what is trained, as plain JSON data."""
        plain = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in {"weights", "grids"}}
        grids = {name: {"zero": g.zero, "is_learnt": g.is_learnt} for name, g in self.grids.items()}
        return {**plain, "weight_limit": asdict(self.weight_limit), "grids": grids}

    def to_tensors(self) -> dict[str, NDArray[np.float32]]:
        """What is trained, by name in the checkpoint, float32."""
        steps = np.array([self.grids[name].step for name in sorted(self.grids)], np.float32)
        return {STEPS: steps, **{f"{WEIGHT_STEPS}{name}": w for name, w in self.weights.items()}}

    @classmethod
    def from_parts(cls, data: Mapping[str, Any], tensors: Tensors) -> QuantizationScheme:
        """The inverse of ``to_json`` and ``to_tensors``.

        Raises:
            ArtifactError: They do not fit together.
        """
        try:
            steps = tensors[STEPS].astype(np.float32).tolist()
            grids = {
                name: QuantParams(step=step, **data["grids"][name])
                for name, step in zip(sorted(data["grids"]), steps, strict=True)
            }
            found = cls(
                **{
                    **data,
                    "grids": grids,
                    "weight_limit": WeightRange(**data["weight_limit"]),
                    "reads": {node: tuple(names) for node, names in data["reads"].items()},
                    "float_readers": tuple(data["float_readers"]),
                    "weights": {
                        name.removeprefix(WEIGHT_STEPS): t.astype(np.float32)
                        for name, t in tensors.items()
                        if name.startswith(WEIGHT_STEPS)
                    },
                }
            )
            found._check()
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ArtifactError(f"the checkpoint's scales are broken: {error!r}", hint=HINT) from error
        return found

    def _check(self) -> None:
        named = {*self.activations.values(), *self.inputs.values()}
        named |= {grid for grids in self.reads.values() for grid in grids if grid}
        steps = np.concatenate([[g.step for g in self.grids.values()], *self.weights.values()])
        if self.family not in QDQ_TARGETS:
            raise ValueError(f"there is no target {self.family}")
        if odd := named - self.grids.keys():
            raise ValueError(f"no grid is called {min(odd)}")
        if self.inputs.keys() != self.weights.keys():
            raise ValueError("convolutions and their inputs differ")
        if not (np.isfinite(steps) & (steps > 0)).all():
            raise ValueError("a step is not a positive number")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PostTraining:
    """Where a training with rounding begins: what an export without it would have written.

    Attributes:
        scheme: With the scales of a calibration.
        weights: By convolution that multiplies bytes, what its bytes say, float32 ``[out, in, k, k]``.
        biases: By such a convolution, its bias, which takes back what rounding its weights moved, float32
            ``[out]``.
        record: Which images the scales come from, and how.
    """

    scheme: QuantizationScheme
    weights: Mapping[str, NDArray[np.float32]]
    biases: Mapping[str, NDArray[np.float32]]
    record: Mapping[str, Any]
