"""A small network of YOLOv5's parts in the form that TensorRT wants, and one way to break each rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Model = onnx.ModelProto
SIDE, CHANNELS, ROWS = 8, 16, 7
ZERO = np.int8(0)


class Sketch:
    """Nodes and constants as they are drawn; each method returns the name of what it made."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}

    def keep(self, name: str, value: Any) -> str:
        self.constants[name] = numpy_helper.from_array(np.asarray(value), name)
        return name

    def node(self, kind: str, name: str, inputs: list[str], **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def pair(self, x: str, scale: float = 0.05, zero: Any = ZERO) -> str:
        """A rounding of something computed, and its way back."""
        name = f"{x}.pair"
        made = [self.keep(f"{name}.scale", np.float32(scale)), self.keep(f"{name}.zero", zero)]
        self.node("QuantizeLinear", f"{name}.round", [x, *made])
        return self.node("DequantizeLinear", name, [f"{name}.round", *made])

    def weight(self, name: str, shape: tuple[int, ...], *, is_byte: bool, dtype: Any = np.float32) -> str:
        values = np.random.default_rng(len(self.nodes)).normal(0, 0.2, shape)
        if not is_byte:
            return self.keep(f"{name}.weight", values.astype(dtype))
        scale = (np.abs(values).reshape(shape[0], -1).max(axis=1) / 127).astype(np.float32)
        whole = np.rint(values / scale.reshape(-1, *[1] * (len(shape) - 1))).astype(np.int8)
        stored = [
            self.keep(f"{name}.weight.bytes", whole),
            self.keep(f"{name}.weight.scale", scale),
            self.keep(f"{name}.weight.zero", np.zeros(shape[0], np.int8)),
        ]
        return self.node("DequantizeLinear", f"{name}.weight", stored, axis=0)

    def conv(self, name: str, x: str, inputs: int, outputs: int = CHANNELS, *, is_byte: bool = True) -> str:
        """A 1x1 convolution and its SiLU."""
        weight = self.weight(name, (outputs, inputs, 1, 1), is_byte=is_byte)
        bias = self.keep(f"{name}.bias", np.zeros(outputs, np.float32))
        y = self.node("Conv", name, [x, weight, bias], kernel_shape=[1, 1])
        return self.node("Mul", f"{name}.act", [y, self.node("Sigmoid", f"{name}.sigmoid", [y])])

    def model(self, output: str, *, opset: int = 17) -> Model:
        images = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIDE, SIDE])
        out = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
        graph = helper.make_graph(self.nodes, "sketch", [images], [out], list(self.constants.values()))
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def network() -> Model:
    """Stem, bottleneck, pool, upsampling, concat, detection output, decode: as TensorRT wants it."""
    s = Sketch()
    stem = s.pair(s.conv("stem", "images", 3, is_byte=False))
    inner = s.pair(s.conv("cv1", stem, CHANNELS))
    total = s.pair(s.node("Add", "add", [stem, s.conv("cv2", inner, CHANNELS)]))
    pool = s.pair(s.node("MaxPool", "pool", [total], kernel_shape=[3, 3], pads=[1] * 4))
    scales = s.keep("scales", np.asarray([1, 1, 2, 2], np.float32))
    up = s.pair(s.node("Resize", "up", [pool, "", scales], mode="nearest"))
    wide = s.conv("cv3", up, CHANNELS)
    twice = s.node("Concat", "cat", [s.pair(wide), up], axis=1)
    body = s.conv("cv4", s.pair(twice), 2 * CHANNELS)
    half = s.node("Cast", "half", [body], to=TensorProto.FLOAT16)
    weight = s.weight("detect", (ROWS, CHANNELS, 1, 1), is_byte=False, dtype=np.float16)
    detect = s.node("Conv", "detect", [half, weight], kernel_shape=[1, 1])
    single = s.node("Cast", "single", [detect], to=TensorProto.FLOAT)
    return s.model(s.node("Sigmoid", "scores", [single]))


def float_network() -> Model:
    """Two layers, a detection output and a decode, nothing rounded: what is given to a quantiser."""
    s = Sketch()
    x = s.conv("cv2", s.conv("cv1", "images", 3, is_byte=False), CHANNELS, is_byte=False)
    detect = s.node("Conv", "detect", [x, s.weight("detect", (ROWS, CHANNELS, 1, 1), is_byte=False)])
    model = s.model(s.node("Sigmoid", "scores", [detect]))
    return onnx.shape_inference.infer_shapes(model)


def onnxruntime_network() -> Model:
    """Convolutions whose results become bytes at once."""
    s = Sketch()
    x = s.pair("images", 1 / 255, np.uint8(0))
    for name, inputs in (("cv1", 3), ("cv2", CHANNELS)):
        y = s.node("Conv", name, [x, s.weight(name, (CHANNELS, inputs, 1, 1), is_byte=True)])
        y = s.pair(y, zero=np.uint8(100))
        x = s.pair(s.node("Mul", f"{name}.act", [y, s.pair(s.node("Sigmoid", f"{name}.sigmoid", [y]))]))
    weight = s.weight("detect", (ROWS, CHANNELS, 1, 1), is_byte=False)
    return s.model(s.node("Conv", "detect", [x, weight]))


def openvino_network() -> Model:
    """The same network with unsigned bytes."""
    return edited(network(), lambda d: [d.put(n, np.uint8(90)) for n in d.names(".pair.zero")])


class Editor:
    """Changes to a model that is there."""

    def __init__(self, model: Model) -> None:
        self.model, self.graph = model, model.graph
        self.stored = {t.name: t for t in self.graph.initializer}

    def names(self, ending: str) -> list[str]:
        return [name for name in self.stored if name.endswith(ending)]

    def node(self, name: str) -> Any:
        return next(n for n in self.graph.node if n.name == name)

    def array(self, name: str) -> NDArray[Any]:
        return numpy_helper.to_array(self.stored[name])

    def put(self, name: str, value: Any) -> str:
        made = numpy_helper.from_array(np.asarray(value), name)
        if name in self.stored:
            self.stored[name].CopyFrom(made)
        else:
            self.graph.initializer.append(made)
            self.stored[name] = self.graph.initializer[-1]
        return name

    def behind(self, name: str, *made: Any) -> None:
        """Insert nodes behind a node."""
        place = [n.name for n in self.graph.node].index(name) + 1
        for step, node in enumerate(made):
            self.graph.node.insert(place + step, node)

    def pair_making(self, name: str, *, scale: float = 0.05, readers: list[str]) -> None:
        """Put a pair behind a node, and let some readers read it."""
        values = [self.put(f"{name}.new.scale", np.float32(scale)), self.put(f"{name}.new.zero", np.int8(0))]
        rounded, back = f"{name}.new.round", f"{name}.new"
        make = helper.make_node
        self.behind(
            name,
            make("QuantizeLinear", [name, *values], [rounded], name=rounded),
            make("DequantizeLinear", [rounded, *values], [back], name=back),
        )
        for reader in readers:
            self.read(reader, name, back)

    def read(self, reader: str, old: str, new: str) -> None:
        """Let a node read another tensor."""
        node = self.node(reader)
        for i, name in enumerate(node.input):
            if name == old:
                node.input[i] = new

    def drop(self, *names: str) -> None:
        kept = [n for n in self.graph.node if n.name not in names]
        del self.graph.node[:]
        self.graph.node.extend(kept)

    def opset(self, version: int) -> None:
        self.model.opset_import[0].version = version


def edited(model: Model, *changes: Callable[[Editor], Any]) -> Model:
    for change in changes:
        change(Editor(model))
    return model


def _float_weights(e: Editor) -> None:
    """Float weights with both halves of the pair, the scale as a node: what pytorch-quantization writes."""
    scale = numpy_helper.from_array(e.array("cv1.weight.scale"), "")
    zero = numpy_helper.from_array(np.zeros(CHANNELS, np.int8), "")
    values = ["cv1.values", "cv1.made.scale", "cv1.made.zero"]
    e.put(values[0], np.ones((CHANNELS, CHANNELS, 1, 1), np.float32))
    make = helper.make_node
    made = [make("Constant", [], [n], value=v) for n, v in zip(values[1:], (scale, zero), strict=True)]
    e.behind(
        "stem",
        *made,
        make("QuantizeLinear", values, ["cv1.rounded"], name="cv1.rounded", axis=0),
    )
    back = e.node("cv1.weight")
    back.input[:] = ["cv1.rounded", *values[1:]]


def _half_scale(e: Editor) -> None:
    """Only from opset 19 on; what comes out is half as well."""
    e.opset(19)
    e.put("cv1.weight.scale", np.full(CHANNELS, 0.01, np.float16))
    e.behind("cv1.weight", helper.make_node("Cast", ["cv1.weight"], ["wide"], name="wide", to=1))
    e.read("cv1", "cv1.weight", "wide")


def _stem_in_bytes(e: Editor) -> None:
    s = Sketch()
    x, weight = s.pair("images"), s.weight("bytes", (CHANNELS, 3, 1, 1), is_byte=True)
    e.graph.initializer.extend(s.constants.values())
    for node in reversed(s.nodes):
        e.graph.node.insert(0, node)
    e.read("stem", "images", x)
    e.read("stem", "stem.weight", weight)


def _no_zero(e: Editor) -> None:
    for name in ("stem.act.pair.round", "stem.act.pair"):
        del e.node(name).input[2]


def _integer_bias(e: Editor) -> None:
    values = [
        e.put("b.bytes", np.zeros(CHANNELS, np.int32)),
        e.put("b.scale", np.full(CHANNELS, 1e-4, np.float32)),
        e.put("b.zero", np.zeros(CHANNELS, np.int32)),
    ]
    e.behind("stem", helper.make_node("DequantizeLinear", values, ["b"], name="b", axis=0))
    e.read("cv1", "cv1.bias", "b")


def _tanh(e: Editor) -> None:
    node = e.node("cv1.sigmoid")
    half = e.put("half.of.it", np.float32(0.5))
    e.behind("cv1", helper.make_node("Mul", ["cv1", half], ["cv1.half"], name="cv1.half"))
    node.op_type, node.input[0] = "Tanh", "cv1.half"


def _suppression(e: Editor) -> None:
    boxes = e.put("boxes", np.zeros((1, 4, 4), np.float32))
    scores = e.put("of.boxes", np.zeros((1, 1, 4), np.float32))
    e.graph.node.append(helper.make_node("NonMaxSuppression", [boxes, scores], ["kept"], name="nms"))


def _custom(e: Editor) -> None:
    made = helper.make_node("EfficientNMS_TRT", ["scores"], ["kept"], name="plugin", domain="trt.plugins")
    e.graph.node.append(made)


def _operators(e: Editor) -> None:
    e.graph.node.append(helper.make_node("DynamicQuantizeLinear", ["scores"], list("abc"), name="dynamic"))


def _branches(e: Editor) -> None:
    """A choice between two graphs, of which one is a quantised layer."""
    chosen = e.put("chosen", np.asarray(True))
    made = helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)
    layer = helper.make_node("Conv", ["cv4.act", "cv4.weight"], ["inner"], name="inner")
    same = helper.make_node("Identity", ["cv4.act"], ["inner"])
    branches = {
        f"{k}_branch": helper.make_graph([n], k, [], [made]) for k, n in (("then", layer), ("else", same))
    }
    e.graph.node.append(helper.make_node("If", [chosen], ["of.either"], name="either", **branches))


def _free(e: Editor) -> None:
    e.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"


def _detect_in_single(e: Editor) -> None:
    e.put("detect.weight", np.ones((ROWS, CHANNELS, 1, 1), np.float32))
    e.read("detect", "half", "cv4.act")
    e.read("scores", "single", "detect")
    e.drop("half", "single")


def _detect_in_bytes(e: Editor) -> None:
    _detect_in_single(e)
    e.pair_making("cv4.act", readers=["detect"])
    s = Sketch()
    weight = s.weight("bytes", (ROWS, CHANNELS, 1, 1), is_byte=True)
    e.graph.initializer.extend(s.constants.values())
    e.behind("stem", s.nodes[0])
    e.read("detect", "detect.weight", weight)


def _float_body(e: Editor) -> None:
    for name in ("cv1", "cv2"):
        e.read(
            name, f"{name}.weight", e.put(f"{name}.plain", np.ones((CHANNELS, CHANNELS, 1, 1), np.float32))
        )


def _put(name: str, value: Any) -> Callable[[Editor], Any]:
    return lambda e: e.put(name, value)


Build = Callable[[], Model]
Change = Callable[[Editor], Any]

#: By rule, what breaks ``network`` so that the rule, and where it stands, must be named.
BREAKS: Mapping[str, tuple[Change, str]] = {
    "activation-zero-point": (_put("stem.act.pair.zero", np.int8(3)), "stem.act.pair.round"),
    "activation-type": (_put("stem.act.pair.zero", np.uint8(0)), "stem.act.pair.round"),
    "activation-per-tensor": (
        lambda e: (
            e.put("stem.act.pair.scale", np.full(CHANNELS, 0.1, np.float32)),
            e.put("stem.act.pair.zero", np.zeros(CHANNELS, np.int8)),
        ),
        "stem.act.pair.round",
    ),
    "weight-zero-point": (_put("cv1.weight.zero", np.full(CHANNELS, 5, np.int8)), "cv1.weight"),
    "weight-type": (
        lambda e: (
            e.put("cv1.weight.zero", np.zeros(CHANNELS, np.uint8)),
            e.put("cv1.weight.bytes", np.ones((CHANNELS, CHANNELS, 1, 1), np.uint8)),
        ),
        "cv1.weight",
    ),
    "weight-axis": (lambda e: e.node("cv1.weight").attribute[0].__setattr__("i", 1), "cv1.weight"),
    "weight-per-channel": (
        lambda e: (
            e.put("cv1.weight.scale", np.float32(0.01)),
            e.put("cv1.weight.zero", np.int8(0)),
        ),
        "cv1.weight",
    ),
    "integer-bias": (_integer_bias, "b"),
    "scale-sane": (_put("stem.act.pair.scale", np.float32(0)), "stem.act.pair.round"),
    "scale-half": (_half_scale, "cv1.weight"),
    "zero-point-given": (_no_zero, "stem.act.pair.round"),
    "weights-stored-in-bytes": (_float_weights, "cv1.rounded"),
    "convolution-wholly-rounded": (lambda e: e.read("cv1", "stem.act.pair", "stem.act"), "cv1"),
    "convolution-own-pair": (lambda e: e.read("cv3", "up.pair", "up"), "cv3"),
    "convolution-output-open": (
        lambda e: e.pair_making("cv1", readers=["cv1.sigmoid", "cv1.act"]),
        "cv1.new.round",
    ),
    "silu-whole": (lambda e: e.pair_making("cv1.sigmoid", readers=["cv1.act"]), "cv1.sigmoid.new.round"),
    "residual-branch-float": (lambda e: e.pair_making("cv2.act", readers=["add"]), "add"),
    "residual-shortcut-rounded": (lambda e: e.read("add", "stem.act.pair", "stem.act"), "add"),
    "concat-one-scale": (_put("cv3.act.pair.scale", np.float32(0.07)), "cat"),
    "concat-not-rounded-again": (_put("cat.pair.scale", np.float32(0.07)), "cat"),
    "pool-same-scale": (_put("pool.pair.scale", np.float32(0.07)), "pool"),
    "pool-rounded-before": (lambda e: e.read("pool", "add.pair", "add"), "pool"),
    "resize-same-scale": (_put("up.pair.scale", np.float32(0.07)), "up"),
    "rounded-once": (
        lambda e: e.pair_making("cv1.act.pair", scale=0.07, readers=["cv2"]),
        "cv1.act.pair.new.round",
    ),
    "enough-channels": (_stem_in_bytes, "stem"),
    "body-in-bytes": (_float_body, "stem"),
    "detection-outputs-float": (_detect_in_bytes, "detect"),
    "decode-float": (lambda e: e.pair_making("single", readers=["scores"]), "single.new.round"),
    "detection-outputs-half": (_detect_in_single, "detect"),
    "opset-parsed": (lambda e: e.opset(21), ""),
    "opset-with-kernels": (lambda e: e.opset(19), ""),
    "opset-of-channels": (lambda e: e.opset(12), "cv1.weight"),
    "no-custom-operators": (_custom, "plugin"),
    "no-suppression-inside": (_suppression, "nms"),
    "pairs-not-operators": (_operators, "dynamic"),
    "static-quantisation": (_operators, "dynamic"),
    "form-judged": (_branches, "either"),
    "no-tanh-silu": (_tanh, "cv1.sigmoid"),
    "fixed-shape": (_free, "images"),
}


def _seven_bits() -> Model:
    """The network for OpenVINO with weights that any CPU can add products of."""
    model = openvino_network()
    for stored in model.graph.initializer:
        if stored.name.endswith(".weight.bytes"):
            stored.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(stored) // 2, stored.name))
    return model


#: The rules that contradict TensorRT's: other networks pass them.
OTHERS: Mapping[str, tuple[Build, Change, str]] = {
    "activation-signed-on-openvino": (
        openvino_network,
        _put("stem.act.pair.zero", np.int8(0)),
        "stem.act.pair.round",
    ),
    "weight-bits": (
        _seven_bits,
        _put("cv1.weight.bytes", np.full((CHANNELS, CHANNELS, 1, 1), -65, np.int8)),
        "cv1.weight",
    ),
    "convolution-output-rounded-for-onnxruntime": (
        onnxruntime_network,
        lambda e: (
            (e.read("cv1.act", "cv1.pair", "cv1"), e.read("cv1.sigmoid", "cv1.pair", "cv1"))
            and e.drop("cv1.pair", "cv1.pair.round")
        ),
        "cv1",
    ),
}


@pytest.fixture
def passing() -> Callable[[str], Model]:
    """A network that a rule finds nothing in."""
    return lambda rule: OTHERS[rule][0]() if rule in OTHERS else network()


@pytest.fixture
def failing() -> Callable[[str], tuple[Model, str]]:
    """A network that a rule must find something in, and the node that it must name."""

    def build(rule: str) -> tuple[Model, str]:
        if rule in OTHERS:
            whole, change, where = OTHERS[rule]
            return edited(whole(), change), where
        change, where = BREAKS[rule]
        return edited(network(), change), where

    return build


@pytest.fixture
def covered() -> set[str]:
    """The rules that there are graphs for."""
    return {*BREAKS, *OTHERS}


@pytest.fixture(scope="session")
def in_float() -> Model:
    """``float_network``."""
    return float_network()
