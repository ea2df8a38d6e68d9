"""The layers of a TensorRT engine and the dtype that each computes in.

Read from the JSON of the engine inspector (8.5 to 11), or, if no GPU can load the engine, from the layer list
that the builder logs. Both have the type of a layer, the dtypes of its inputs and outputs, and the ONNX nodes
that were fused into it.

Source: https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/engine-tools.html
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgestill.errors import ArtifactError

UNKNOWN = "unknown"
LISTING = "Layers:"  # first line of the builder's list
#: The inspector's words for a dtype, longer ones first: "BFloat16" contains "Float".
_WORDS: tuple[tuple[str, str], ...] = (
    ("bfloat16", "bfloat16"),
    ("bf16", "bfloat16"),
    ("fp16", "float16"),
    ("half", "float16"),
    ("int8", "int8"),
    ("fp8", "float8"),
    ("tf32", "float32"),
    ("fp32", "float32"),
    ("float", "float32"),
)
#: Types of convolutions and matrix products. Fused ones are found by their weights, see ``_is_arithmetic``.
_ARITHMETIC = re.compile(r"conv|correlation|gemm|matrix.?mult|matmul|fully", re.IGNORECASE)
_NODE = re.compile(r"\[ONNX Layer: ([^\]]+)\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLayer:
    """One layer of an engine.

    Attributes:
        name: Name of the layer.
        kind: Type according to the inspector, e.g. ``"CaskConvolution"``, ``"correlation"``, ``"kgen"``.
        dtype: What it computes in: the dtype of its first input, e.g. ``"int8"``. A layer with 8-bit weights
            and a float input dequantises the weights first, so it is a float layer.
        arithmetic: Whether it is a convolution or a matrix product.
        nodes: The ONNX nodes that were fused into it, if the inspector says.
    """

    name: str
    kind: str
    dtype: str
    arithmetic: bool
    nodes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LayerList:
    """An engine's layers."""

    layers: tuple[EngineLayer, ...]

    def counts(self) -> dict[str, int]:
        """Number of convolutions and matrix products by dtype, the most frequent first."""
        return dict(Counter(layer.dtype for layer in self.layers if layer.arithmetic).most_common())


def read_layers(text: str) -> LayerList:
    """Parse the inspector's JSON.

    Raises:
        ArtifactError: It has another format, or the engine was built without detailed profiling verbosity,
            so that there are only names.
    """
    hint = "build the engine with edgestill, which asks TensorRT for detailed layer information"
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ArtifactError(f"the engine's layer information is not JSON: {error}", hint=hint) from error
    entries = found.get("Layers") if isinstance(found, dict) else found
    if not isinstance(entries, list) or not entries:
        raise ArtifactError("the engine's layer information lists no layers", hint=hint)
    if not all(isinstance(entry, dict) for entry in entries):
        raise ArtifactError("the engine has only the names of its layers, not their data types", hint=hint)
    return LayerList(tuple(_layer(entry) for entry in entries))


def read_listing(text: str) -> LayerList:
    """Parse the list that the builder logs: a layer on each line, ``Key: value`` with braces for tensors.

    Raises:
        ArtifactError: There is no layer in it.
    """
    lines = [line for line in text.splitlines() if line.startswith("Name: ")]
    if not lines:
        raise ArtifactError(
            "the builder listed no layers", hint="this TensorRT logs in another format: please report it"
        )
    return LayerList(tuple(_layer(_fields(line)) for line in lines))


def _fields(line: str) -> dict[str, Any]:
    """One line of the list, in the structure of the inspector's JSON."""
    name, _, rest = line.removeprefix("Name: ").partition(", LayerType: ")
    kind, _, rest = rest.partition(", Inputs: ")
    inputs, _, rest = rest.partition("], Constants: [")
    constants, _, rest = rest.partition("], Outputs: [")
    return {
        "Name": name,
        "LayerType": kind,
        "Inputs": [{"Datatype": kind} for kind in re.findall(r"Datatype: (\w+)", inputs)],
        "Constants": [
            {"Dimensions": [int(n) for n in sides.split(",") if n]}
            for sides in re.findall(r"Dimensions: \[([\d,]*)\]", constants)
        ],
        "Metadata": rest,
    }


def _layer(entry: Mapping[str, Any]) -> EngineLayer:
    kind = str(entry.get("LayerType", ""))
    inputs: Sequence[Mapping[str, Any]] = entry.get("Inputs") or ()
    return EngineLayer(
        name=str(entry.get("Name", "")),
        kind=kind,
        dtype=_dtype(inputs[0]) if inputs else UNKNOWN,
        arithmetic=_is_arithmetic(entry, kind),
        nodes=tuple(_NODE.findall(str(entry.get("Metadata", "")))),
    )


def _is_arithmetic(entry: Mapping[str, Any], kind: str) -> bool:
    """Whether a layer is a convolution or matrix product: by type, parameters (8.x) or fused weights."""
    if kind.lower().startswith("reformat"):
        return False
    if entry.get("ParameterType") == "Convolution" or _ARITHMETIC.search(kind):
        return True
    if "fusion" not in kind.lower():
        return False
    # Weights, unlike a bias, have at least two sides above 1; a 1x1 convolution may be a matrix product here.
    return any(sum(side > 1 for side in c.get("Dimensions") or ()) > 1 for c in entry.get("Constants") or ())


def _dtype(tensor: Mapping[str, Any]) -> str:
    """The dtype of a tensor: 8.x and 10.x have it in ``Format/Datatype``, later versions in ``Datatype``."""
    text = str(tensor.get("Datatype") or tensor.get("Format/Datatype") or "").lower()
    return next((dtype for word, dtype in _WORDS if word in text), UNKNOWN)
