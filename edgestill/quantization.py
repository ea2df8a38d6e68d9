"""Where a network is quantised to INT8, and with which scales: the contract of QAT and export.

An export decides which tensors its target quantises and computes initial scales from calibration images. QAT
trains the scales, the checkpoint stores them, and the next export writes them unchanged. Names are those of
nodes and tensors of the exported graph, which follow from the network's own, see ``edgestill.architecture``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgestill.errors import ArtifactError
from edgestill.target import QDQ_TARGETS, QdqTarget

#: Largest magnitude of an INT8 weight by the number of bits used; symmetric, so that the zero point is 0. An
#: x86 CPU without VNNI adds two products of a UINT8 activation and an INT8 weight in saturating INT16
#: (``vpmaddubsw``): 2 * 255 * 127 saturates, 2 * 255 * 64 does not.
WEIGHT_MAX: Mapping[int, int] = {7: 64, 8: 127}
#: Largest sum of two weights of one sign whose products are added in INT16.
MAX_PAIR_SUM = 2 * WEIGHT_MAX[7]
#: Kernels read weights of this many input channels at a time, as two pairs.
CHANNEL_BLOCK = 4
PREFIX = "quantisation."  # of the scales' tensors in a checkpoint
SCALES, WEIGHT_SCALES = f"{PREFIX}steps", f"{PREFIX}weights."
HINT = "train it again, or copy the checkpoint again"

Tensors = Mapping[str, NDArray[Any]]


def has_paired_channels(shape: Sequence[int]) -> bool:
    """Whether the pairs of weights whose products are added in INT16 are known.

    They are for a convolution with a multiple of ``CHANNEL_BLOCK`` input channels.

    Args:
        shape: Shape of the weights, ``[out, in, k, k]``.
    """
    return len(shape) == 4 and shape[1] > 0 and shape[1] % CHANNEL_BLOCK == 0


def pair_sums(weights: NDArray[Any]) -> NDArray[Any]:
    """Magnitudes of the sums of paired weights, ``[out, pairs]``; 0 for weights of opposite signs.

    ONNX Runtime and OpenVINO lay weights out channels last, so that channels 2i and 2i + 1 at one position of
    the kernel form a pair.

    Args:
        weights: ``[out, in, k, k]`` with ``has_paired_channels``.
    """
    first, second = weights[:, ::2], weights[:, 1::2]
    sums = np.where(first * second > 0, np.abs(first + second), 0)
    return np.asarray(sums.reshape(len(weights), -1))


def overflows_int16(weights: NDArray[np.int8]) -> bool:
    """Whether the sum of two products of INT8 weights and UINT8 activations can saturate INT16.

    Args:
        weights: Of any shape; where pairs are not known, any two weights may form one.
    """
    wide = weights.astype(np.int32)
    if has_paired_channels(wide.shape):
        return bool(pair_sums(wide).max(initial=0) > MAX_PAIR_SUM)
    return bool(np.abs(wide).max(initial=0) > WEIGHT_MAX[7])


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightRange:
    """Limits on the magnitude of INT8 weights.

    Attributes:
        largest: Of one weight.
        pair: Of the sum of a pair, see ``pair_sums``; None where products are added in INT32.
    """

    largest: int
    pair: int | None = None

    def of(self, shape: Sequence[int]) -> WeightRange:
        """The limits of a layer by the shape of its weights; without known pairs, half of ``pair`` each."""
        if self.pair is None or has_paired_channels(shape):
            return self
        return WeightRange(largest=self.pair // 2)


#: For TensorRT, which accumulates in INT32.
FULL_RANGE = WeightRange(largest=WEIGHT_MAX[8])
#: For every x86 and ARM CPU, with VNNI or without.
ANY_CPU_RANGE = WeightRange(largest=WEIGHT_MAX[8], pair=MAX_PAIR_SUM)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantParams:
    """Affine quantisation of a tensor: ``real = (quantised - zero_point) * scale``.

    Attributes:
        scale: A float32 value.
        zero_point: As UINT8, 0 to 255; 128 is the zero point 0 of INT8.
        is_learnt: Whether QAT trains the scale; those of pixels and sigmoids are fixed.
    """

    scale: float
    zero_point: int
    is_learnt: bool = True


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class QuantizationScheme:
    """The quantisation of one network for one target.

    Attributes:
        family: The target.
        is_signed: Whether activations are INT8 with zero point 0, of tensors that may be shifted for it; else
            UINT8 with a zero point.
        has_integer_bias: Whether biases are INT32 at the scale of input times weight.
        weight_limit: Limits on the magnitude of weights.
        quant_params: Quantisation parameters of activations by name; the inputs of a concat share them.
        activations: By quantised tensor, the name of its parameters.
        weights: By quantised convolution, the scale of each output channel, float32 ``[out]``.
        inputs: By quantised convolution, the name of its input's parameters.
        reads: By node, the names of the parameters with which it reads its inputs; ``""`` for an input that
            it reads unquantised, or whose values are quantised already.
        float_readers: Nodes that compute in float; they read tensors before quantisation.
        left_float: By tensor or convolution that is not quantised, the reason.
    """

    family: QdqTarget
    is_signed: bool
    has_integer_bias: bool
    weight_limit: WeightRange
    quant_params: Mapping[str, QuantParams]
    activations: Mapping[str, str]
    weights: Mapping[str, NDArray[np.float32]]
    inputs: Mapping[str, str]
    reads: Mapping[str, tuple[str, ...]]
    float_readers: tuple[str, ...]
    left_float: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Everything except the scales, as plain JSON data."""
        scaled = {"weights", "quant_params"}
        plain = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in scaled}
        grids = {n: {"zero": p.zero_point, "is_learnt": p.is_learnt} for n, p in self.quant_params.items()}
        return {**plain, "weight_limit": asdict(self.weight_limit), "grids": grids}

    def to_tensors(self) -> dict[str, NDArray[np.float32]]:
        """The scales by tensor name in the checkpoint, float32."""
        scales = np.array([self.quant_params[n].scale for n in sorted(self.quant_params)], np.float32)
        return {SCALES: scales, **{f"{WEIGHT_SCALES}{name}": w for name, w in self.weights.items()}}

    @classmethod
    def from_parts(cls, data: Mapping[str, Any], tensors: Tensors) -> QuantizationScheme:
        """The inverse of ``to_json`` and ``to_tensors``.

        Args:
            data: From ``to_json``.
            tensors: From ``to_tensors``; others are ignored.

        Raises:
            ArtifactError: A part is missing or invalid, or the parts contradict each other.
        """
        try:
            grids = data["grids"]
            scales = tensors[SCALES].astype(np.float32).tolist()
            quant_params = {
                name: QuantParams(
                    scale=scale, zero_point=grids[name]["zero"], is_learnt=grids[name]["is_learnt"]
                )
                for name, scale in zip(sorted(grids), scales, strict=True)
            }
            scheme = cls(
                **{
                    **{key: value for key, value in data.items() if key != "grids"},
                    "quant_params": quant_params,
                    "weight_limit": WeightRange(**data["weight_limit"]),
                    "reads": {node: tuple(names) for node, names in data["reads"].items()},
                    "float_readers": tuple(data["float_readers"]),
                    "weights": {
                        name.removeprefix(WEIGHT_SCALES): t.astype(np.float32)
                        for name, t in tensors.items()
                        if name.startswith(WEIGHT_SCALES)
                    },
                }
            )
            scheme._check()
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ArtifactError(f"the checkpoint's scales are invalid: {error!r}", hint=HINT) from error
        return scheme

    def _check(self) -> None:
        named = {*self.activations.values(), *self.inputs.values()}
        named |= {name for names in self.reads.values() for name in names if name}
        scales = np.concatenate([[p.scale for p in self.quant_params.values()], *self.weights.values()])
        if self.family not in QDQ_TARGETS:
            raise ValueError(f"there is no target {self.family}")
        if unknown := named - self.quant_params.keys():
            raise ValueError(f"there are no quantisation parameters {min(unknown)}")
        if self.inputs.keys() != self.weights.keys():
            raise ValueError("inputs and weights name different convolutions")
        if not (np.isfinite(scales) & (scales > 0)).all():
            raise ValueError("a scale is not a positive number")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PostTraining:
    """Post-training quantisation of a network, from which QAT starts.

    Attributes:
        scheme: Has the scales of a calibration.
        weights: By quantised convolution, its weights after quantisation, float32 ``[out, in, k, k]``.
        biases: By quantised convolution, its bias, corrected for the mean error of the weights, float32
            ``[out]``.
        record: The calibration images and the range method, as plain JSON data.
    """

    scheme: QuantizationScheme
    weights: Mapping[str, NDArray[np.float32]]
    biases: Mapping[str, NDArray[np.float32]]
    record: Mapping[str, Any]
