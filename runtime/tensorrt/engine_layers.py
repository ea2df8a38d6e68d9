"""The layers of a TensorRT engine, by the data type that they compute in.

Read from the engine inspector's JSON (8.5 to 11), or from the list that a builder prints when it is done,
which is all there is where no GPU can load the engine. Both name a layer's type, its inputs and outputs with
their data types, and the ONNX nodes that went into it.

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
LISTING = "Layers:"  # how the builder's list begins
#: Words of the inspector for a data type, the longer ones first: "BFloat16" holds "Float".
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
#: Types of layers that multiply and add. A fused one is told by its weights, see ``_is_arithmetic``.
_ARITHMETIC = re.compile(r"conv|correlation|gemm|matrix.?mult|matmul|fully", re.IGNORECASE)
_NODE = re.compile(r"\[ONNX Layer: ([^\]]+)\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLayer:
    """One layer of an engine.

    Attributes:
        name: Its name.
        kind: The inspector's type, e.g. ``"CaskConvolution"``, ``"correlation"``, ``"kgen"``.
        dtype: What it computes in: the type of its first input, e.g. ``"int8"``. A layer with 8-bit weights
            and a float input turns the weights back first, so it is a float layer.
        arithmetic: Whether it multiplies and adds: a convolution or a matrix product.
        nodes: The ONNX nodes that it does the work of, where the inspector says.
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
        """ComputeConfig layers by data type, the most frequent first."""
        return dict(Counter(layer.dtype for layer in self.layers if layer.arithmetic).most_common())


def read_layers(text: str) -> LayerList:
    """Read the inspector's JSON.

    Raises:
        ArtifactError: It is not what the inspector writes, or was built without detailed verbosity, which
            leaves names only.
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
        raise ArtifactError("the engine tells its layers' names only, not their data types", hint=hint)
    return LayerList(tuple(_layer(entry) for entry in entries))


def read_listing(text: str) -> LayerList:
    """Read the list that a builder prints: one layer a line, ``Key: value`` with braces for tensors.

    Raises:
        ArtifactError: No line of it is a layer.
    """
    lines = [line for line in text.splitlines() if line.startswith("Name: ")]
    if not lines:
        raise ArtifactError(
            "the builder listed no layers", hint="this TensorRT writes another form: report it"
        )
    return LayerList(tuple(_layer(_fields(line)) for line in lines))


def _fields(line: str) -> dict[str, Any]:
    """One line of the list in the form of the inspector's JSON."""
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
    """By type, by parameters (8.x), or as a fusion around weights (Myelin)."""
    if kind.lower().startswith("reformat"):
        return False
    if entry.get("ParameterType") == "Convolution" or _ARITHMETIC.search(kind):
        return True
    if "fusion" not in kind.lower():
        return False
    # Weights, and not a bias, have two sides or more; a 1x1 convolution may have become a matrix product.
    return any(sum(side > 1 for side in c.get("Dimensions") or ()) > 1 for c in entry.get("Constants") or ())


def _dtype(tensor: Mapping[str, Any]) -> str:
    """8.x and 10.x write ``Format/Datatype`` in words; later ones ``Datatype`` apart."""
    text = str(tensor.get("Datatype") or tensor.get("Format/Datatype") or "").lower()
    return next((dtype for word, dtype in _WORDS if word in text), UNKNOWN)
