"""The three heads: names, one layout, decoding, start values, and each as a student."""

from __future__ import annotations

import math
import subprocess
import sys
from copy import deepcopy
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from distill.checkpoints import native
from distill.losses.anchor_loss import AnchorLoss
from distill.models.blocks import Conv
from distill.models.coupled import Coupled
from distill.models.decoupled import Decoupled
from distill.models.dfl import Dfl
from distill.models.feature_hooks import FeatureHooks
from distill.models.yolov5 import Yolov5, build, from_spec, fuse_batch_norms, model_spec, weight_mismatch
from distill.recipe import Recipe
from distill.teacher import make_student
from distill.train import train
from distill.training.ema import Ema
from distill.training.setup import build_run
from distill.training.torch_detector import TorchDetector
from edgestill.errors import ArtifactError, DeviceError, UsageError
from edgestill.spec import COCO_ANCHORS_PX, HeadKind, ModelSpec

STRIDES = (8, 16, 32)
ONE_ANCHOR = tuple(level[:1] for level in COCO_ANCHORS_PX)
CLASSES = ("red", "yellow", "green", "off")
HW = (64, 96)

# A head, whether its levels share, and its anchors a cell.
Kind = tuple[HeadKind, bool, int]
COUPLED: Kind = ("coupled", False, 3)
DECOUPLED: Kind = ("decoupled", False, 3)
SHARED: Kind = ("decoupled", True, 3)
DFL: Kind = ("dfl", False, 1)
HEADS = pytest.mark.parametrize(
    "kind", [COUPLED, DECOUPLED, SHARED, DFL], ids=["coupled", "decoupled", "shared", "dfl"]
)


def make(size: str, nc: int, kind: Kind) -> Yolov5:
    head, share, per_cell = kind
    anchors = ONE_ANCHOR if per_cell == 1 else COCO_ANCHORS_PX
    return build(size, nc, anchors, head=head, share_levels=share)


def on_meta(size: str, nc: int, kind: Kind) -> Yolov5:
    """A network without values, so that the large ones cost nothing."""
    with torch.device("meta"):
        return make(size, nc, kind)


@cache
def fresh(kind: Kind) -> Yolov5:
    """A network of four classes that no test changes."""
    torch.manual_seed(0)
    return make("n", len(CLASSES), kind).eval()


@cache
def seasoned(kind: Kind) -> Yolov5:
    """One whose batch norms have seen something."""
    torch.manual_seed(0)
    model = deepcopy(fresh(kind))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            module.get_buffer("running_mean").normal_(std=0.1)
            module.get_buffer("running_var").uniform_(0.5, 1.5)
    return model


# --- State dict: the names are what exporters and other people's weights go by. ---


@HEADS
def test_tensors_carry_the_agreed_names(kind: Kind) -> None:
    names = {n.removeprefix("model.24.") for n in on_meta("n", 4, kind).state_dict() if "model.24." in n}
    levels = range(1 if kind == SHARED else 3)
    conv = ("conv.weight", *(f"bn.{n}" for n in ("weight", "bias", "running_mean", "running_var")))
    conv = (*conv, "bn.num_batches_tracked")
    wanted = {
        COUPLED: {"anchors", *(f"m.{i}.{n}" for i in range(3) for n in ("weight", "bias"))},
        DFL: {
            "dfl.conv.weight",
            *(f"{b}.{i}.{k}.{n}" for b in ("cv2", "cv3") for i in range(3) for k in (0, 1) for n in conv),
            *(f"{b}.{i}.2.{n}" for b in ("cv2", "cv3") for i in range(3) for n in ("weight", "bias")),
        },
    }
    towers = {
        "anchors",
        *(f"stems.{i}.{n}" for i in range(3) for n in conv),
        *(f"{b}_convs.{i}.{k}.{n}" for b in ("cls", "reg") for i in levels for k in (0, 1) for n in conv),
        *(f"{b}_preds.{i}.{n}" for b in ("cls", "reg", "obj") for i in levels for n in ("weight", "bias")),
    }
    assert names == wanted.get(kind, towers)


@pytest.fixture(scope="module")
def original() -> nn.Module:
    """YOLOv5u as its own package builds it."""
    from ultralytics.nn.tasks import DetectionModel

    model: nn.Module = DetectionModel("yolov5n.yaml", nc=4, verbose=False)
    return model


def test_the_original_yolov5u_fits_and_decodes_the_same(original: nn.Module) -> None:
    theirs, ours = deepcopy(original), seasoned(DFL)
    theirs.load_state_dict(ours.state_dict())  # strictly: the same names and shapes
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert (module.eps, module.momentum) == (1e-3, 0.03)
    image = torch.rand(2, 3, *HW)
    with torch.no_grad():
        decoded, raw = theirs.eval()(image)
        found = ours(image)

    torch.testing.assert_close(ours.decode(found), decoded, atol=1e-4, rtol=1e-4)
    flat = torch.cat([level.flatten(1, 3) for level in found], 1).transpose(1, 2)
    torch.testing.assert_close(flat, torch.cat((raw["boxes"], raw["scores"]), 1), atol=1e-4, rtol=1e-4)


def test_a_fresh_dfl_head_starts_as_the_original_does(original: nn.Module) -> None:
    theirs = original.state_dict()
    ours = fresh(DFL).state_dict()
    for name in ours:
        if name.startswith("model.24.") and name.endswith((".2.bias", "dfl.conv.weight")):
            assert torch.equal(ours[name], theirs[name]), name


def test_backbone_and_neck_start_from_the_same_numbers_under_every_head() -> None:
    first, *others = (fresh(kind).state_dict() for kind in (COUPLED, SHARED, DFL))
    for other in others:
        assert all(torch.equal(other[n], t) for n, t in first.items() if not n.startswith("model.24."))


# --- Raw maps and decoding. ---


@HEADS
@pytest.mark.parametrize("training", [True, False])
def test_raw_maps_have_the_layout_of_their_kind(kind: Kind, training: bool) -> None:
    model = deepcopy(fresh(kind)).train(training)
    with torch.no_grad():
        raw = model(torch.zeros(2, 3, 96, 160))
    columns = 64 + 4 if kind == DFL else 5 + 4
    assert [tuple(level.shape) for level in raw] == [
        (2, kind[2], height, width, columns) for height, width in ((12, 20), (6, 10), (3, 5))
    ]
    assert all(level.is_contiguous() for level in raw)


@HEADS
def test_what_is_decoded_has_the_layout_that_the_spec_says(kind: Kind) -> None:
    model = fresh(kind)
    contract = model_spec(model, CLASSES, HW)
    with torch.no_grad():
        decoded = model.decode(model(torch.rand(1, 3, *HW)))

    wanted = (1, 8, contract.cells) if kind == DFL else (1, contract.cells, 9)
    assert tuple(decoded.shape) == wanted
    assert (contract.layout, contract.anchors_px == ()) == (
        ("yolov8", True) if kind == DFL else ("yolov5", False)
    )


@HEADS
def test_a_head_leaves_its_input_list_alone(kind: Kind) -> None:
    head = fresh(kind).head
    features = [torch.rand(1, c, 2, 2) for c in (64, 128, 256)]
    before, values = list(features), [f.clone() for f in features]
    head(features)

    assert all(f is b and torch.equal(f, v) for f, b, v in zip(features, before, values, strict=True))


def test_dfl_columns_run_over_level_y_x() -> None:
    head = Dfl(2, (8, 8, 8), STRIDES)
    raw = [torch.full((1, 1, 64 // s, 96 // s, 66), -30.0) for s in STRIDES]
    y, x, stride = 2, 5, 16
    cell = raw[1][0, 0, y, x]
    for side, distance in enumerate((1, 2, 3, 4)):  # left, top, right, bottom
        cell[16 * side + distance] = 30.0
    cell[65] = 30.0
    column = (64 // 8) * (96 // 8) + y * (96 // 16) + x

    left, top = (x + 0.5 - 1) * stride, (y + 0.5 - 2) * stride
    right, bottom = (x + 0.5 + 3) * stride, (y + 0.5 + 4) * stride
    box = [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
    torch.testing.assert_close(head.decode(raw)[0, :, column], torch.tensor([*box, 0.0, 1.0]))


@HEADS
def test_half_precision_maps_are_decoded_in_float32(kind: Kind) -> None:
    model = fresh(kind)
    with torch.no_grad():
        raw = [level.bfloat16() for level in model(torch.rand(1, 3, *HW))]
    assert torch.equal(model.decode(raw), model.decode([level.float() for level in raw]))


@HEADS
def test_folding_batch_norms_changes_nothing_but_rounding(kind: Kind) -> None:
    model, image = seasoned(kind), torch.rand(1, 3, *HW)
    folded = fuse_batch_norms(model)

    assert not [m for m in folded.modules() if isinstance(m, nn.BatchNorm2d)]
    with torch.no_grad():
        for plain, fast in zip(model(image), folded(image), strict=True):
            torch.testing.assert_close(plain, fast, atol=1e-4, rtol=1e-4)


# --- Start values. ---


@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("nc", [1, 80])
def test_a_decoupled_head_starts_from_the_prior_of_few_objects(nc: int, share: bool) -> None:
    head = Decoupled(nc, (8, 8, 8), 64, COCO_ANCHORS_PX, STRIDES, share_levels=share)
    bound = 1 / math.sqrt(64)  # of torch's own start values, which the prior is added to
    for owner, stride in enumerate((16,) if share else STRIDES):  # shared: the mean of the levels' logits
        obj = head.get_parameter(f"obj_preds.{owner}.bias")
        cls = head.get_parameter(f"cls_preds.{owner}.bias")
        assert (obj - math.log(8 / (640 / stride) ** 2)).abs().max() <= bound
        assert (cls - math.log(0.6 / (nc - 0.99999))).abs().max() <= bound


def test_shared_towers_are_the_same_for_all_levels() -> None:
    torch.manual_seed(0)
    head = Decoupled(2, (8, 8, 8), 8, COCO_ANCHORS_PX, STRIDES, share_levels=True).eval()
    for stem in head.stems:
        stem.load_state_dict(head.stems[0].state_dict())
    feature = torch.rand(1, 8, 4, 4)
    first, second, third = head([feature] * 3)

    assert torch.equal(first, second)
    assert torch.equal(first, third)


# --- A decoupled head that computes what a coupled one does. ---


@torch.no_grad()
def copy_of(coupled: Coupled, channels: tuple[int, ...], hidden: int) -> Decoupled:
    """A decoupled head with a coupled one's function, SiLU and all.

    SiLU(x) - SiLU(-x) = x: every value travels as a pair of channels, x and -x, and the next convolution
    takes their difference.
    """
    nc, strides = coupled.nc, coupled.strides
    head = Decoupled(nc, channels, hidden, COCO_ANCHORS_PX, strides).eval()
    values = 3 * (5 + nc)
    assert 2 * values <= hidden
    carry = torch.zeros(hidden, hidden)
    for k in range(values):
        carry[k, k] = carry[values + k, values + k] = 1
        carry[k, values + k] = carry[values + k, k] = -1
    for module in head.modules():
        if isinstance(module, Conv):
            norm = module.bn
            assert isinstance(norm, nn.BatchNorm2d)
            norm.weight.fill_(math.sqrt(1 + norm.eps))  # with fresh statistics: the identity
            module.conv.weight.zero_()
    columns = torch.arange(values).view(3, 5 + nc)
    for level in range(3):
        source = coupled.m[level]
        stem = head.stems[level].get_parameter("conv.weight")
        stem[:values] = source.weight
        stem[values : 2 * values] = -source.weight
        for tower in (head.cls_convs[level], head.reg_convs[level]):
            for conv in tower:
                conv.get_parameter("conv.weight")[:, :, 1, 1] = carry
        parts = ((head.reg_preds, columns[:, :4]), (head.obj_preds, columns[:, 4:5]))
        for predictors, own in (*parts, (head.cls_preds, columns[:, 5:])):
            predictor, wanted = predictors[level], own.flatten()
            predictor.weight.zero_()
            predictor.weight[torch.arange(len(wanted)), wanted, 0, 0] = 1
            predictor.weight[torch.arange(len(wanted)), values + wanted, 0, 0] = -1
            predictor.bias.copy_(source.bias[wanted])
    return head


def test_a_decoupled_head_that_copies_a_coupled_one_has_its_loss() -> None:
    torch.manual_seed(0)
    model = build("n", 4).eval()
    assert isinstance(model.head, Coupled)
    twin = copy_of(model.head, (64, 128, 256), 64)
    features = [torch.randn(2, c, 64 // s, 96 // s) for c, s in zip((64, 128, 256), STRIDES, strict=True)]
    targets = torch.tensor([[0, 1, 0.5, 0.5, 0.2, 0.3], [1, 3, 0.2, 0.7, 0.5, 0.5]])
    loss = AnchorLoss(model_spec(model, CLASSES, HW))
    with torch.no_grad():
        wanted, found = model.head(features), twin(features)

    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(loss(found, targets)[0], loss(wanted, targets)[0])
    torch.testing.assert_close(twin.decode(found), model.decode(wanted), atol=1e-3, rtol=1e-4)


# --- On disk, as a student, as a detector. ---


@pytest.mark.default_cases("dfl")
@HEADS
def test_what_is_saved_is_loaded(kind: Kind, tmp_path: Path) -> None:
    half = kind in {SHARED, DFL}  # a test for all would tell no more
    model = seasoned(kind)
    native.save(tmp_path, model, model_spec(model, CLASSES, HW), {"epoch": 3}, half=half)
    again, contract, about = native.load(tmp_path)

    assert (contract, about["epoch"]) == (model_spec(model, CLASSES, HW), 3)
    assert (again.head.kind, again.head.share_levels) == kind[:2]
    for name, tensor in model.state_dict().items():
        found = again.state_dict()[name]
        assert torch.equal(found, tensor) if not half else torch.allclose(found, tensor, rtol=1e-3, atol=1e-6)


@HEADS
def test_a_network_and_its_spec_rebuild_each_other(kind: Kind) -> None:
    contract = model_spec(on_meta("s", 4, kind), CLASSES, HW)
    with torch.device("meta"):
        shapes = {name: tuple(t.shape) for name, t in from_spec(contract).state_dict().items()}

    assert weight_mismatch(contract, shapes) is None
    assert weight_mismatch(replace(contract, name="yolov5n"), shapes) is not None


def test_a_checkpoint_of_another_head_is_refused(tmp_path: Path) -> None:
    model = make("n", 4, DECOUPLED)
    contract = replace(model_spec(model, CLASSES, HW), share_levels=True)

    with pytest.raises(ArtifactError, match="a decoupled head and 4 classes"):
        native.save(tmp_path, model, contract, {})


def test_an_anchor_head_without_anchors_cannot_be_built() -> None:
    with pytest.raises(ArtifactError, match=r"with head 'coupled'.* 0 levels of anchors"):
        from_spec(ModelSpec(name="yolov5n", input_hw=HW, classes=("a",), anchors_px=()))


@HEADS
def test_taps_are_what_the_head_reads(kind: Kind) -> None:
    model = seasoned(kind)
    with FeatureHooks(model) as taps, torch.no_grad():
        raw = model(torch.rand(1, 3, *HW))
        again = model.head(list(taps.features.values()))

    assert all(torch.equal(a, b) for a, b in zip(raw, again, strict=True))


@HEADS
def test_a_certain_cell_comes_back_as_a_detection(kind: Kind) -> None:
    model = deepcopy(fresh(kind))
    contract = model_spec(model, CLASSES, (128, 192))

    def put(_module: object, _inputs: object, raw: list[Tensor]) -> None:
        for level in raw:
            level.fill_(-30)
        cell = raw[2][0, 0, 1, 3]
        if kind == DFL:
            cell[[1, 16 + 1, 32 + 1, 48 + 1]] = 30  # one cell from the centre, on each side
            cell[64 + 2] = 30
        else:
            cell[:5] = torch.tensor([0.0, 0.0, 0.0, 0.0, 30.0])  # the size of the anchor, 116 x 90
            cell[5 + 2] = 30

    model.head.register_forward_hook(put)
    found = TorchDetector(model, contract)(np.zeros((256, 384, 3), np.uint8))  # twice the input, no border
    half = np.array([32, 32] if kind == DFL else [58, 45])
    wanted = 2 * np.concatenate((np.array([112, 48]) - half, np.array([112, 48]) + half))
    np.testing.assert_allclose(found.xyxy, np.clip(wanted, 0, [384, 256, 384, 256])[None], atol=1e-2)
    assert found.class_id.tolist() == [2]


def student(recipe: Recipe, kind: Kind, init: str = "") -> Recipe:
    wanted = replace(recipe.student, head=kind[0], share_levels=kind[1], init=init)
    return replace(recipe, student=wanted, methods={}, epochs=1, eval_every=1)


@pytest.mark.default_cases("dfl")
@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("kind", [SHARED, DFL], ids=["shared", "dfl"])
def test_a_head_trains_and_is_kept(kind: Kind, recipe: Recipe, tmp_path: Path) -> None:
    result = train(student(recipe, kind), tmp_path / "run")
    model, contract, _ = native.load(Path(result["best"]))

    assert (contract.head, contract.share_levels) == kind[:2]
    columns = (tmp_path / "run" / "history.csv").read_text().splitlines()[0].split(",")
    assert ("dfl" in columns, "obj" in columns) == (kind == DFL, kind != DFL)
    assert model.head.kind == kind[0]


@pytest.mark.parametrize(
    ("kind", "fresh"),
    [
        (COUPLED, []),
        (DFL, ["model.24.cv2", "model.24.cv3", "model.24.dfl"]),
        (
            DECOUPLED,
            [
                "model.24.stems",
                "model.24.cls_convs",
                "model.24.reg_convs",
                "model.24.cls_preds",
                "model.24.reg_preds",
                "model.24.obj_preds",
            ],
        ),
    ],
    ids=["coupled", "dfl", "decoupled"],
)
def test_another_head_takes_over_backbone_and_neck(
    recipe: Recipe, teacher: Path, kind: Kind, fresh: list[str]
) -> None:
    begun = make_student(student(recipe, kind, str(teacher)), ("red", "green"))
    source, _, _ = native.load(teacher)
    given, found = source.state_dict(), begun.model.state_dict()

    assert begun.unmatched_layers == fresh
    assert begun.spec.head == kind[0]
    same = [name for name in given if not name.startswith("model.24.")]
    assert all(torch.equal(found[name], given[name]) for name in same)


def test_a_dfl_student_may_start_from_a_dfl_checkpoint(recipe: Recipe, tmp_path: Path) -> None:
    model = make("n", 3, DFL)  # another number of classes
    native.save(tmp_path, model, model_spec(model, ("a", "b", "c"), HW), {})
    begun = make_student(student(recipe, DFL, str(tmp_path)), ("red", "green"))

    assert begun.unmatched == tuple(f"model.24.cv3.{i}.2.{n}" for i in range(3) for n in ("weight", "bias"))


@pytest.mark.parametrize("head", ["coupled", "dfl"])
def test_only_a_decoupled_head_can_share_its_levels(recipe: Recipe, head: HeadKind) -> None:
    with pytest.raises(UsageError, match=f"share_levels needs the decoupled head, and head = {head}"):
        make_student(student(recipe, (head, True, 3)), ("red", "green"))


def test_the_frozen_bins_survive_training(recipe: Recipe, tmp_path: Path) -> None:
    run = build_run(student(recipe, DFL), tmp_path, ("red", "green"))
    bins = torch.arange(16.0).view(1, 16, 1, 1)
    total = sum(level.sum() for level in run.model(torch.rand(2, 3, *HW)))
    assert isinstance(total, Tensor)
    torch.autograd.backward(total)
    run.optimiser.step()
    ema = Ema(run.model, 0.5, 1)
    ema.update(run.model)

    for model in (run.model, ema.model):
        assert torch.equal(model.head.get_parameter("dfl.conv.weight"), bins)


# --- The library that lends a head. ---

WITHOUT_TORCHVISION = """
import sys, warnings
warnings.simplefilter("error")

class Broken:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torchvision":
            raise RuntimeError("operator torchvision::nms does not exist")

sys.meta_path.insert(0, Broken())
import os, cv2
threads = cv2.getNumThreads()
from distill.models.yolov5 import build
assert "ultralytics" not in sys.modules
build("n", 2, head="dfl")
assert "ultralytics" in sys.modules
assert cv2.getNumThreads() == threads
assert not {"YOLO_OFFLINE", "YOLO_AUTOINSTALL"} & os.environ.keys()
from ultralytics.utils import AUTOINSTALL
assert not AUTOINSTALL
"""


@pytest.mark.slow
def test_a_dfl_head_needs_no_torchvision_and_changes_no_setting() -> None:
    subprocess.run([sys.executable, "-c", WITHOUT_TORCHVISION], check=True, timeout=300)


def test_a_missing_library_is_named_with_the_command_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("ultralytics.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ultralytics", None)
    with pytest.raises(DeviceError, match=r"the dfl head needs 'ultralytics'.*\n.*pip install .*\[train\]"):
        build("n", 2, head="dfl")


def test_no_two_layers_share_an_activation() -> None:
    activations = [module for module in fresh(DFL).head.modules() if isinstance(module, nn.SiLU)]
    assert len(activations) == 12  # the package has one object for all networks of the process
