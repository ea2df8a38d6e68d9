"""The kernels that are read from ONNX graphs."""

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.estimate.fitted import shipped
from benchmarks.estimate.latency_model import latency_ms, machine, terms
from benchmarks.estimate.layer_work import ModelWork
from benchmarks.estimate.onnx_layers import read_layers
from benchmarks.estimate.yolo_models import published_model
from devices.profile import load_profile
from edgestill.errors import ArtifactError, UsageError
from export.model_file import resolve

onnx = pytest.importorskip("onnx")
from onnx import parser  # noqa: E402 (where onnx is installed)

IMAGE = "float[1, 8, 64, 96] x"
W3 = "float[8, 8, 3, 3] w"
W1 = "float[8, 8, 1, 1] w"
CONV3 = "Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]>"
MAP = 8 * 64 * 96

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def save(nodes: str, *weights: str, image: str = IMAGE, output: str = "float[1, 8, 64, 96] y") -> Path:
        text = f'<ir_version: 8, opset_import: ["" : 17]> g ({image}) => ({output}) {{ {nodes} }}'
        model = parser.parse_model(text)
        for weight in weights:
            info = parser.parse_graph(f"g ({weight}) => (float[1] unused) {{ unused = Identity(w) }}").input[
                0
            ]
            dims = [d.dim_value for d in info.type.tensor_type.shape.dim]
            kind = info.type.tensor_type.elem_type
            size = 1
            for dim in dims:
                size *= dim
            model.graph.initializer.append(onnx.helper.make_tensor(info.name, kind, dims, [1] * size))
        path = tmp_path / "m.onnx"
        onnx.save(model, path)
        return path

    return save


def of_kind(work: ModelWork, kind: str) -> list[int]:
    return [int(layer.flops) for layer in work.layers if layer.kind == kind]


def test_the_student_has_the_layers_of_its_published_architecture() -> None:
    work = read_layers(resolve("student"), "fp16")
    same = published_model("yolov5n", work.input_hw, classes=4)
    assert work.gflops == pytest.approx(same.gflops, rel=1e-3)
    assert work.parameters == pytest.approx(same.parameters, rel=5e-3)
    assert len(work.layers) == len(same.layers)
    on, costs = machine(load_profile("jetson-orin-nano"), "fp16"), shipped().costs
    found, wanted = (latency_ms(terms(w, on, "fp16"), costs) for w in (work, same))
    assert found == pytest.approx(wanted, rel=0.01)


def test_a_convolution_counts_its_products_values_and_weights(write: Write) -> None:
    (layer,) = read_layers(write(f"y = {CONV3} (x, w)", W3), "fp32").layers
    assert layer.flops == 2 * MAP * 8 * 9
    assert (layer.read, layer.written, layer.weights) == (MAP, MAP, 8 * 8 * 9)
    assert (layer.outputs, layer.reduction) == (8, 72)


def test_activation_and_shortcut_are_fused_into_the_convolution(write: Write) -> None:
    nodes = f"c = {CONV3} (x, w)  s = Sigmoid(c)  m = Mul(c, s)  y = Add(m, x)"
    (layer,) = read_layers(write(nodes, W3), "fp16").layers
    assert (layer.read, layer.written) == (2 * MAP, MAP)


def test_quantised_and_float_graphs_have_the_same_kernels(write: Write) -> None:
    nodes = (
        "scale = Constant <value = float {0.1}> ()  zero = Constant <value = int8 {0}> ()  "
        f"c = {CONV3} (x, w)  q = QuantizeLinear(c, scale, zero)  d = DequantizeLinear(q, scale, zero)  "
        "y = Relu(d)"
    )
    path = write(nodes, W3)
    assert len(read_layers(path, "int8").layers) == 1
    with pytest.raises(UsageError, match="is quantised"):
        read_layers(path, "fp16")


def test_1x1_convolutions_of_one_input_are_one_kernel(write: Write) -> None:
    nodes = "a = Conv(x, w)  b = Conv(x, w)  y = Add(a, b)"
    (layer,) = read_layers(write(nodes, W1), "fp16").layers
    assert (layer.flops, layer.outputs, layer.read) == (2 * 2 * MAP * 8, 16, MAP)


def test_a_depthwise_convolution_is_for_cuda_cores(write: Write) -> None:
    grouped = CONV3.replace("<", "<group = 8, ")
    work = read_layers(write(f"y = {grouped} (x, w)", "float[8, 1, 3, 3] w"), "fp16")
    assert of_kind(work, "depthwise") == [2 * MAP * 9]


def test_transposed_convolutions_and_matrix_products_count_their_products(write: Write) -> None:
    up = write(
        "y = ConvTranspose <kernel_shape = [2, 2], strides = [2, 2]> (x, w)",
        "float[8, 4, 2, 2] w",
        output="float[1, 4, 128, 192] y",
    )
    assert of_kind(read_layers(up, "fp16"), "dense") == [2 * MAP * 4 * 4]
    product = write("y = MatMul(x, w)", "float[96, 32] w", output="float[1, 8, 64, 32] y")
    assert of_kind(read_layers(product, "fp16"), "dense") == [2 * 8 * 64 * 96 * 32]


def test_pools_are_kernels_and_reshapes_are_not(write: Write) -> None:
    nodes = (
        "shape = Constant <value = int64[2] {1, -1}> ()  "
        "p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x)  y = Reshape(p, shape)"
    )
    (layer,) = read_layers(write(nodes, output="float[1, m] y"), "fp16").layers
    assert (layer.kind, layer.read, layer.written) == ("memory", MAP, MAP / 4)


def test_a_batch_is_counted_for_one_image(write: Write) -> None:
    one = read_layers(write(f"y = {CONV3} (x, w)", W3), "fp16")
    four = read_layers(
        write(f"y = {CONV3} (x, w)", W3, image="float[4, 8, 64, 96] x", output="float[4, 8, 64, 96] y"),
        "fp16",
    )
    assert four.layers == one.layers


def test_a_free_size_is_given_and_a_fixed_one_is_kept(write: Write) -> None:
    free = write(f"y = {CONV3} (x, w)", W3, image="float[n, 8, h, v] x", output="float[n, 8, h, v] y")
    assert read_layers(free, "fp16", (64, 96)).layers[0].written == MAP
    with pytest.raises(UsageError, match="free input size"):
        read_layers(free, "fp16")
    with pytest.raises(UsageError, match="fixed input size 64x96, not 32x32"):
        read_layers(write(f"y = {CONV3} (x, w)", W3), "fp16", (32, 32))


@pytest.mark.parametrize(
    ("nodes", "why"),
    [
        ("y = Det(x)", "operators Det is not known"),
        ("s = Cast <to = 7> (x)  r = Reshape(x, s)  y = Relu(r)", "shape"),
    ],
)
def test_what_is_not_known_is_refused(nodes: str, why: str, write: Write) -> None:
    with pytest.raises(ArtifactError, match=why):
        read_layers(write(nodes, output="float[a] y"), "fp16")


def test_a_model_of_other_inputs_is_refused(write: Write) -> None:
    with pytest.raises(ArtifactError, match="one input of four dimensions"):
        read_layers(write("y = Relu(x)", image="float[1, 8] x", output="float[1, 8] y"), "fp16")
