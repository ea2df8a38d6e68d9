"""Layers by data type, from what inspectors and builders of different times write."""

import json
from typing import Any

import pytest

from edgestill.errors import ArtifactError
from runtime.tensorrt.engine_layers import read_layers, read_listing

INT8_WORDS = "Thirty-two wide channel vectorized row major Int8 format."
HALF_WORDS = "Channel major FP16 format where channel % 4 == 0"


def tensor(**words: Any) -> dict[str, Any]:
    return {"Name": "x", "Location": "Device", "Dimensions": [1, 16, 8, 8], **words}


def cask(words: str, **more: Any) -> dict[str, Any]:
    """A convolution as 8.x tells it."""
    inputs = [tensor(**{"Format/Datatype": words})]
    return {
        "Name": "model.1.conv",
        "LayerType": "CaskConvolution",
        "Inputs": inputs,
        "Outputs": inputs,
        "ParameterType": "Convolution",
        "Kernel": [3, 3],
        "Groups": 1,
        "Weights": {"Type": "Int8", "Count": 4608},
        "Bias": {"Type": "Float", "Count": 32},
        "Activation": "NONE",
        "TacticName": "sm80_xmma_fprop_implicit_gemm_interleaved_i8i8_i8i32_f32",
        **more,
    }


def fusion(kind: str, datatype: str, *constants: list[int]) -> dict[str, Any]:
    """A layer of the compiler of 10.x and later."""
    return {
        "Name": "__myl_ConvSilu_myl0_3",
        "LayerType": kind,
        "Inputs": [tensor(Datatype=datatype, Format="(NHWC) Channel major format")],
        "Constants": [tensor(Datatype=datatype) | {"Dimensions": sides} for sides in constants],
        "Outputs": [tensor(Datatype="Float")],
        "Metadata": "[ONNX Layer: model.1.conv]\u001e[ONNX Layer: model.1.act]",
    }


def counts(*layers: Any) -> dict[str, int]:
    return read_layers(json.dumps({"Layers": list(layers), "Bindings": ["images"]})).counts()


@pytest.mark.parametrize(
    ("layer", "dtype"),
    [
        (cask(INT8_WORDS), "int8"),
        (cask(HALF_WORDS), "float16"),
        (cask("Row major linear FP32"), "float32"),
        (cask("Half"), "float16"),
        (cask("Row major linear BF16 format"), "bfloat16"),
        (fusion("correlation", "Int8", [16, 16, 3, 3]), "int8"),
        (fusion("runtime_fusion", "Half", [32, 16, 1, 1], [1, 32, 1, 1]), "float16"),
        (fusion("runtime_fusion", "BFloat16", [32, 16, 1, 1]), "bfloat16"),
        (fusion("gemm", "Float", [256, 256]), "float32"),
        (cask("Sixteen strange things"), "unknown"),
    ],
)
def test_a_convolution_counts_by_what_it_reads(layer: dict[str, Any], dtype: str) -> None:
    assert counts(layer) == {dtype: 1}


def test_bytes_that_are_only_stored_are_no_int8() -> None:
    """Weight-only quantisation: the weights are bytes, the arithmetic is not."""
    layer = cask(HALF_WORDS, Weights={"Type": "Int8", "Count": 4608})
    assert counts(layer) == {"float16": 1}


@pytest.mark.parametrize(
    "layer",
    [
        {**cask(HALF_WORDS), "LayerType": "Reformat", "Name": "Reformatting CopyNode for conv"},
        fusion("kgen", "Half", [1, 160, 1, 9]),
        fusion("runtime_fusion", "Half", [1, 32, 1, 1]),  # a bias, no weights
        fusion("signal", "Half"),
    ],
)
def test_what_only_moves_or_points_does_not_count(layer: dict[str, Any]) -> None:
    assert counts(layer) == {}


def test_the_onnx_nodes_of_a_layer_are_known() -> None:
    (layer,) = read_layers(json.dumps({"Layers": [fusion("correlation", "Int8", [16, 16, 3, 3])]})).layers
    assert layer.nodes == ("model.1.conv", "model.1.act")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not JSON"),
        ('{"Layers": []}', "lists no layers"),
        ('{"Bindings": []}', "lists no layers"),
        ('{"Layers": ["model.0.conv", "model.1.conv"]}', "only the names"),
    ],
)
def test_what_tells_no_data_types_is_refused(text: str, said: str) -> None:
    with pytest.raises(ArtifactError, match=said):
        read_layers(text)


LISTING = """Layers:
Name: __myl_Move_myl0_0, LayerType: kgen, Inputs: [ { Name: images, Dimensions: [1,3,64,96], Strides: \
[18432,6144,96,1], StrideOrder: [3,2,1,0], Datatype: Float, Format: (Linear) Row major }], \
Constants: [], Outputs: [ { Name: a, Dimensions: [1,3,64,96], Datatype: Float }], TacticName: x, \
StreamId: 0, Metadata:\x20
Name: model.1.conv_U216_myl0_3, LayerType: correlation, Inputs: [ { Name: a, Dimensions: [1,16,32,48], \
Datatype: Int8, Format: (NHWC) Channel major format }], Constants: [ { Name: w, Dimensions: [32,16,3,3], \
Datatype: Int8 }, { Name: s, Dimensions: [1,32,1,1], Datatype: Float }], Outputs: [ { Name: b, Dimensions: \
[1,32,16,24], Datatype: Float }], TacticName: y, StreamId: 0, Metadata: [ONNX Layer: model.1.conv]
Name: __myl_FcAddSilu_myl0_48, LayerType: runtime_fusion, Inputs: [ { Name: c, Dimensions: [1,256,240], \
Datatype: Half }], Constants: [ { Name: d, Dimensions: [1,256,1], Datatype: Half }, { Name: e, Dimensions: \
[1,256,256], Datatype: Half }], Outputs: [ { Name: f, Dimensions: [1,256,240], Datatype: Half }], \
TacticName: , StreamId: 0, Metadata: [ONNX Layer: model.8.cv3.conv]__gemm_from_conv1x1
Name: __mye5391_myl0_3, LayerType: signal, Inputs: [], Constants: [], Outputs: [], TacticName: , StreamId: 0
"""


def test_a_builders_list_is_read_like_the_inspectors() -> None:
    found = read_listing(LISTING)
    assert len(found.layers) == 4
    assert found.counts() == {"int8": 1, "float16": 1}
    assert found.layers[2].nodes == ("model.8.cv3.conv",)


def test_a_list_in_another_form_is_refused() -> None:
    with pytest.raises(ArtifactError, match="listed no layers"):
        read_listing("Layers:\n0: conv [int8]")
