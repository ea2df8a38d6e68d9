"""YOLOv5 is the original: counts, names, shapes, decoding, folding."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from distill.models.counts import parameter_count
from distill.models.yolov5 import (
    TAPS,
    Yolov5,
    build,
    from_spec,
    fuse_batch_norms,
    model_spec,
    weight_mismatch,
)
from edgestill.architecture import layers, level_channels, size_of
from edgestill.errors import ArtifactError, UsageError
from edgestill.spec import COCO_ANCHORS_PX, ModelSpec

# Of the original, tag v7.0: parameters with 80 classes, with 2 classes, with 80 classes and folded batch
# norms; tensors in the state dict.
ORIGINAL = {
    "n": (1_872_157, 1_766_623, 1_867_405, 349),
    "s": (7_235_389, 7_025_023, 7_225_885, 349),
    "m": (21_190_557, 20_875_359, 21_172_173, 481),
    "l": (46_563_709, 46_143_679, 46_533_693, 613),
    "x": (86_749_405, 86_224_543, 86_705_005, 745),
}
SIZES = pytest.mark.parametrize("size", ORIGINAL)


def on_meta(size: str, nc: int = 80) -> Yolov5:
    """A network without values, so that the large ones cost nothing."""
    with torch.device("meta"):
        return build(size, nc)


@pytest.fixture(scope="module")
def nano() -> Yolov5:
    """A network whose batch norms have seen something."""
    torch.manual_seed(0)
    model = build("n", 4)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    return model.eval()


@SIZES
@pytest.mark.parametrize(("nc", "column"), [(80, 0), (2, 1)])
def test_each_size_has_the_original_number_of_parameters(size: str, nc: int, column: int) -> None:
    assert parameter_count(on_meta(size, nc)) == ORIGINAL[size][column]


@SIZES
def test_folding_leaves_the_original_number_of_parameters(size: str) -> None:
    model = on_meta(size)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    # A folded convolution gains one bias a channel and loses the norm's weight and bias.
    saved = sum(m.num_features for m in norms)

    assert parameter_count(model) - saved == ORIGINAL[size][2]


def test_the_folded_network_has_no_batch_norm_left(nano: Yolov5) -> None:
    assert not [m for m in fuse_batch_norms(nano).modules() if isinstance(m, nn.BatchNorm2d)]
    assert parameter_count(fuse_batch_norms(build("n", 80))) == ORIGINAL["n"][2]


@SIZES
def test_each_size_has_the_original_number_of_tensors(size: str) -> None:
    assert len(on_meta(size).state_dict()) == ORIGINAL[size][3]


def test_tensors_carry_the_original_names() -> None:
    names = set(on_meta("n").state_dict())
    assert {
        "model.0.conv.weight",
        "model.0.bn.running_var",
        "model.4.m.1.cv2.bn.num_batches_tracked",
        "model.9.cv2.conv.weight",
        "model.17.cv3.bn.weight",
        "model.24.anchors",
        "model.24.m.2.bias",
    } <= names


@SIZES
def test_the_neck_gives_the_original_widths(size: str) -> None:
    width = {"n": 64, "s": 128, "m": 192, "l": 256, "x": 320}[size]
    assert level_channels(size) == {"p3": width, "p4": 2 * width, "p5": 4 * width}


def test_the_taps_are_what_the_head_reads(nano: Yolov5) -> None:
    seen: dict[str, tuple[int, ...]] = {}
    hooks = [
        nano.model[index].register_forward_hook(
            lambda _module, _inputs, out, level=level: seen.update({level: tuple(out.shape)})
        )
        for level, index in TAPS.items()
    ]
    nano(torch.zeros(1, 3, 64, 96))
    for hook in hooks:
        hook.remove()

    assert seen == {"p3": (1, 64, 8, 12), "p4": (1, 128, 4, 6), "p5": (1, 256, 2, 3)}


def test_layers_follow_each_other() -> None:
    table = layers("n")
    assert [layer.index for layer in table] == list(range(24))
    assert all(source < layer.index for layer in table for source in layer.sources)


@pytest.mark.parametrize("training", [True, False])
def test_raw_maps_are_the_same_kind_in_training_and_evaluation(training: bool) -> None:
    raw = build("n", 4).train(training)(torch.zeros(2, 3, 96, 160))
    assert [tuple(level.shape) for level in raw] == [(2, 3, 12, 20, 9), (2, 3, 6, 10, 9), (2, 3, 3, 5, 9)]


def test_the_head_leaves_its_input_list_alone(nano: Yolov5) -> None:
    features = [torch.rand(1, c, 2, 2) for c in nano.channels.values()]
    before = list(features)
    values = [f.clone() for f in features]
    nano.head(features)

    assert all(f is b and torch.equal(f, v) for f, b, v in zip(features, before, values, strict=True))


def decoded_by_hand(raw: list[Tensor], level: int, anchor: int, y: int, x: int) -> list[float]:
    """One row, from the formulas, in plain Python."""
    t = [1 / (1 + math.exp(-v)) for v in raw[level][0, anchor, y, x].tolist()]
    stride = (8, 16, 32)[level]
    width, height = COCO_ANCHORS_PX[level][anchor]
    return [
        (2 * t[0] - 0.5 + x) * stride,
        (2 * t[1] - 0.5 + y) * stride,
        (2 * t[2]) ** 2 * width,
        (2 * t[3]) ** 2 * height,
        *t[4:],
    ]


@pytest.mark.parametrize("place", [(0, 0, 0, 0), (0, 2, 7, 11), (1, 1, 3, 0), (2, 0, 1, 2), (2, 2, 0, 1)])
def test_rows_run_over_level_anchor_y_x(nano: Yolov5, place: tuple[int, int, int, int]) -> None:
    generator = torch.Generator().manual_seed(1)
    raw = [torch.randn(1, 3, 64 // s, 96 // s, 9, generator=generator) for s in (8, 16, 32)]
    level, anchor, y, x = place
    start = sum(3 * (64 // s) * (96 // s) for s in (8, 16, 32)[:level])
    height, width = raw[level].shape[2:4]
    row = start + (anchor * height + y) * width + x

    decoded = nano.decode(raw)[0, row]
    torch.testing.assert_close(decoded, torch.tensor(decoded_by_hand(raw, *place)))


def test_half_precision_maps_are_decoded_in_float32(nano: Yolov5) -> None:
    raw = [torch.randn(1, 3, 2, 2, 9).bfloat16() for _ in range(3)]
    assert torch.equal(nano.decode(raw), nano.decode([level.float() for level in raw]))


def test_folding_batch_norms_changes_nothing_but_rounding(nano: Yolov5) -> None:
    image = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        for ours, theirs in zip(nano(image), fuse_batch_norms(nano)(image), strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("nc", "level", "stride"), [(1, 0, 8), (4, 1, 16), (80, 2, 32)])
def test_the_head_starts_from_the_prior_of_few_objects(nc: int, level: int, stride: int) -> None:
    conv = build("n", nc).head.get_submodule(f"m.{level}")
    assert isinstance(conv, nn.Conv2d)
    assert conv.bias is not None
    bias = conv.bias.detach().view(3, 5 + nc)
    bound = 1 / math.sqrt(conv.in_channels)  # of torch's own start values, which the prior is added to

    assert (bias[:, 4] - math.log(8 / (640 / stride) ** 2)).abs().max() <= bound
    assert (bias[:, 5:] - math.log(0.6 / (nc - 0.99999))).abs().max() <= bound


def test_the_anchor_buffer_is_in_cells() -> None:
    torch.testing.assert_close(
        build("n", 1).head.get_buffer("anchors")[2, 2], torch.tensor([373 / 32, 326 / 32])
    )


def test_an_unknown_size_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="no YOLOv5 size is called 'q'"):
        build("q", 4)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'yolov5s'"):
        size_of("yolo5s")


def test_a_spec_of_another_network_is_refused() -> None:
    with pytest.raises(ArtifactError, match="cannot build 'yolov8n'"):
        from_spec(ModelSpec(name="yolov8n", input_hw=(64, 64), classes=("a",)))


def test_a_spec_names_each_class(nano: Yolov5) -> None:
    with pytest.raises(ArtifactError, match="the network has 4 classes, but there are 2 class names"):
        model_spec(nano, ["red", "green"], (64, 96))


def test_a_network_and_its_spec_rebuild_each_other(nano: Yolov5) -> None:
    contract = model_spec(nano, ["red", "yellow", "green", "off"], (64, 96))
    shapes = {name: tuple(t.shape) for name, t in from_spec(contract).state_dict().items()}

    assert weight_mismatch(contract, shapes) is None
    assert contract.name == "yolov5n"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(
            {"model.0.conv.weight": None}, "1 tensors are missing, the first is model.0.conv.weight"
        ),
        pytest.param({"model.25.bias": (1,)}, "1 tensors are unknown, the first is model.25.bias"),
        pytest.param({"model.24.m.0.bias": (21,)}, "model.24.m.0.bias is [21], expected [27]"),
    ],
    ids=["missing", "unknown", "shape"],
)
def test_the_first_difference_is_named(
    nano: Yolov5, change: dict[str, tuple[int, ...] | None], message: str
) -> None:
    shapes = {name: tuple(t.shape) for name, t in nano.state_dict().items()} | change
    found = weight_mismatch(
        model_spec(nano, ["a", "b", "c", "d"], (64, 96)), {n: s for n, s in shapes.items() if s is not None}
    )
    assert found == message
