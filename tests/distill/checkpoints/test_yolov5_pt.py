"""Original checkpoints are read, and none of their code is run."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import types
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import nn

import distill.checkpoints.safe_unpickle
from distill.checkpoints.native import load
from distill.checkpoints.yolov5_pt import load_yolov5_pt
from distill.models import blocks, coupled
from distill.models.yolov5 import Yolov5, build
from edgestill.cli.main import main
from edgestill.errors import ArtifactError
from runtime.detector import open_detector

CLASSES = ["red", "yellow", "green", "off"]
LEGACY_HOME = {
    blocks.Conv: "models.common.Conv",
    blocks.C3: "models.common.C3",
    blocks.Bottleneck: "models.common.Bottleneck",
    blocks.SPPF: "models.common.SPPF",
    blocks.Concat: "models.common.Concat",
    coupled.Coupled: "models.yolo.Detect",
}


@pytest.fixture
def legacy_class(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], type[nn.Module]]:
    """Classes under the names of the original code, as torch.save needs them; gone after the test."""

    def make(path: str) -> type[nn.Module]:
        home, _, name = path.rpartition(".")
        if home not in sys.modules:
            monkeypatch.setitem(sys.modules, home, ModuleType(home))
        module = sys.modules[home]
        if not hasattr(module, name):
            setattr(module, name, type(name, (nn.Module,), {"__module__": home}))
        found: type[nn.Module] = getattr(module, name)
        return found

    monkeypatch.setitem(sys.modules, "models", ModuleType("models"))
    return make


@pytest.fixture(scope="module")
def network() -> Yolov5:
    torch.manual_seed(0)
    return build("n", 4).half()


@pytest.fixture
def pickled(legacy_class: Callable[[str], type[nn.Module]], network: Yolov5) -> Callable[..., nn.Module]:
    """Our network as the module tree that the original would have pickled."""

    def convert(module: nn.Module) -> nn.Module:
        home = LEGACY_HOME.get(type(module))
        kind = legacy_class(home) if home else type(module)
        twin = kind.__new__(kind)
        twin.__dict__.update(module.__dict__)
        twin._modules = {n: convert(m) for n, m in module._modules.items() if m is not None}
        return twin

    def make(home: str = "models.yolo.Model", names: object = CLASSES, **attributes: object) -> nn.Module:
        root = legacy_class(home)()
        root.model = nn.Sequential(*(convert(m) for m in network.model))
        root.__dict__.update(yaml={"nc": 4, "depth_multiple": 0.33}, names=names, stride=torch.tensor([8.0]))
        root.__dict__.update(attributes)
        return root

    return make


def stripped(model: object) -> dict[str, Any]:
    """What the original's strip_optimizer leaves."""
    return {
        "epoch": -1,
        "best_fitness": None,
        "model": model,
        "ema": None,
        "updates": None,
        "optimizer": None,
    }


def written(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


@pytest.mark.parametrize("home", ["models.yolo.Model", "models.yolo.DetectionModel"])
def test_a_legacy_file_gives_the_tensors_it_holds(
    home: str, pickled: Callable[..., nn.Module], network: Yolov5, tmp_path: Path
) -> None:
    checkpoint = load_yolov5_pt(written(tmp_path / "old.pt", stripped(pickled(home))))

    wanted = network.state_dict()
    assert checkpoint.weights.keys() == wanted.keys()
    assert all(np.array_equal(checkpoint.weights[n], t.float().numpy()) for n, t in wanted.items())


def test_a_legacy_file_tells_its_architecture_and_classes(
    pickled: Callable[..., nn.Module], tmp_path: Path
) -> None:
    spec = load_yolov5_pt(written(tmp_path / "old.pt", stripped(pickled()))).spec

    assert (spec.name, spec.classes, spec.input_hw) == ("yolov5n", tuple(CLASSES), (640, 640))
    assert spec.anchors_px[2][2] == (373.0, 326.0)


def test_names_may_be_a_dictionary(pickled: Callable[..., nn.Module], tmp_path: Path) -> None:
    model = pickled(names=dict(enumerate(CLASSES)))

    assert load_yolov5_pt(written(tmp_path / "old.pt", stripped(model))).spec.classes == tuple(CLASSES)


def test_a_legacy_file_loads_as_a_network(pickled: Callable[..., nn.Module], tmp_path: Path) -> None:
    model, _, about = load(written(tmp_path / "old.pt", stripped(pickled())))

    assert next(model.parameters()).dtype == torch.float32
    assert about["source"] == "old.pt"


def test_the_average_is_taken_from_an_unstripped_file(
    pickled: Callable[..., nn.Module], network: Yolov5, tmp_path: Path
) -> None:
    average, live = pickled(), change_layer(pickled, 0, nn.SiLU())  # which would not load
    content = stripped(live) | {
        "ema": average,
        "best_fitness": np.array([0.5]),
        "fitness": np.float64(0.25),
        "optimizer": torch.optim.SGD(network.parameters(), lr=0.1).state_dict(),
        "opt": {"save_dir": PurePosixPath("runs/exp"), "lr": 0.1},
        "date": "2022-01-01",
    }

    assert len(load_yolov5_pt(written(tmp_path / "last.pt", content)).weights) == 349


@pytest.mark.default_cases(
    "settings0-hw0-opt.imgsz = 512",
    "settings4-hw4-opt.img_size = 320",
    "settings7-hw7-train_args.imgsz = 384",
)
@pytest.mark.parametrize(
    ("settings", "hw", "told_by"),
    [
        ({"opt": {"imgsz": 512, "rect": False}}, (512, 512), "opt.imgsz = 512"),
        ({"opt": {"imgsz": 500}}, (512, 512), "opt.imgsz = 500"),  # trained at the next multiple of 32
        (
            {"opt": argparse.Namespace(imgsz=416, save_dir=PurePosixPath("runs"))},
            (416, 416),
            "opt.imgsz = 416",
        ),
        ({"opt": {"imgsz": [512]}}, (512, 512), "opt.imgsz = 512"),
        ({"opt": {"img_size": [320, 640]}}, (320, 320), "opt.img_size = 320"),  # training, validation
        ({"opt": {"imgsz": "1280"}}, (1280, 1280), "opt.imgsz = 1280"),
        ({"opt": {"imgsz": 16}}, (64, 64), "opt.imgsz = 16"),
        ({"train_args": {"imgsz": 384, "task": "detect"}}, (384, 384), "train_args.imgsz = 384"),
        ({"train_args": {"imgsz": [384, 640]}}, (640, 640), "train_args.imgsz = 640"),
    ],
)
def test_the_input_size_is_the_one_of_the_training(
    settings: dict[str, Any],
    hw: tuple[int, int],
    told_by: str,
    pickled: Callable[..., nn.Module],
    tmp_path: Path,
) -> None:
    read = load_yolov5_pt(written(tmp_path / "a.pt", stripped(pickled()) | settings))
    assert read.spec.input_hw == hw
    assert read.about["input_size"] == f"{hw[0]}x{hw[1]}, {told_by}"


@pytest.mark.slow
def test_export_and_evaluation_take_that_size(
    pickled: Callable[..., nn.Module], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path / "a.pt", stripped(pickled()) | {"opt": {"imgsz": 64}})
    to = ["--to", "onnx", "--precision", "fp32", "--out", str(tmp_path / "out")]
    assert main(["export", str(path), *to]) == 0
    capsys.readouterr()
    (exported,) = (tmp_path / "out").glob("*.onnx")
    with closing(open_detector(exported, threads=1)) as detector:
        assert detector.backend.inputs[0].shape == (1, 3, 64, 64)

    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "0.png"), np.full((64, 64, 3), 90, np.uint8))
    (tmp_path / "labels" / "0.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (tmp_path / "data.yaml").write_text(f"train: images\nval: images\nnames: {CLASSES}\n")
    assert main(["eval", str(path), "--data", str(tmp_path / "data.yaml")]) == 0
    assert json.loads(capsys.readouterr().out)["input_hw"] == [64, 64]


@pytest.mark.default_cases("None", "nan", "large", "size8")
@pytest.mark.parametrize("size", [None, 0, -512, True, 10**9, 0.5, float("nan"), "large", [], {"w": 1}])
def test_a_size_that_is_none_is_not_taken(
    size: object, pickled: Callable[..., nn.Module], tmp_path: Path
) -> None:
    read = load_yolov5_pt(written(tmp_path / "a.pt", stripped(pickled()) | {"opt": {"imgsz": size}}))
    assert read.spec.input_hw == (640, 640)
    assert "names no input size" in read.about["input_size"]


def test_settings_of_the_network_tell_the_size_too(pickled: Callable[..., nn.Module], tmp_path: Path) -> None:
    for args in ({"imgsz": 256}, types.SimpleNamespace(imgsz=256)):
        read = load_yolov5_pt(written(tmp_path / "a.pt", stripped(pickled(args=args))))
        assert read.spec.input_hw == (256, 256)


def test_a_batch_norm_with_another_epsilon_is_refused(
    pickled: Callable[..., nn.Module], tmp_path: Path
) -> None:
    model = pickled()
    (norm, *_) = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    norm.__dict__["eps"] = 1e-5
    with pytest.raises(ArtifactError, match=r"has eps 1e-05, YOLOv5's have 0\.001"):
        load_yolov5_pt(written(tmp_path / "a.pt", stripped(model)))


def test_names_are_in_the_order_of_their_ids(pickled: Callable[..., nn.Module], tmp_path: Path) -> None:
    turned = dict(reversed(list(enumerate(CLASSES))))
    read = load_yolov5_pt(written(tmp_path / "a.pt", stripped(pickled(names=turned))))
    assert read.spec.classes == tuple(CLASSES)


@pytest.mark.parametrize(
    ("home", "task"),
    [("SegmentationModel", "segmentation"), ("ClassificationModel", "classification")],
)
def test_a_network_for_another_task_is_called_so(
    home: str, task: str, pickled: Callable[..., nn.Module], tmp_path: Path
) -> None:
    path = written(tmp_path / "a.pt", stripped(pickled(f"models.yolo.{home}")))
    with pytest.raises(ArtifactError, match=f"is a network for {task}"):
        load_yolov5_pt(path)


# --- Hostile and broken files. ---


class Payload:
    """Runs a command when it is unpickled by someone careless."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (self.command,)


def test_a_payload_is_refused_and_does_not_run(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    path = written(tmp_path / "evil.pt", stripped(Payload(f"touch {trace}")))
    with pytest.raises(ArtifactError, match=r"no YOLOv5 checkpoint needs: (posix|nt)\.system"):
        load_yolov5_pt(path)

    assert not trace.exists()


def test_a_payload_inside_a_module_is_refused_and_does_not_run(
    pickled: Callable[..., nn.Module], tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    path = written(tmp_path / "evil.pt", stripped(pickled(extra=Payload(f"touch {trace}"))))
    with pytest.raises(ArtifactError, match="uses code that no YOLOv5 checkpoint needs"):
        load_yolov5_pt(path)

    assert not trace.exists()


def test_the_unpickler_itself_refuses_what_the_scan_would_miss(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    path = written(tmp_path / "evil.pt", stripped(Payload(f"touch {trace}")))
    monkeypatch.setattr(torch.serialization, "get_unsafe_globals_in_checkpoint", lambda _: [])
    with pytest.raises(ArtifactError, match="is not a readable torch checkpoint"):
        load_yolov5_pt(path)

    assert not trace.exists()


def test_unknown_classes_are_named(legacy_class: Callable[[str], type[nn.Module]], tmp_path: Path) -> None:
    path = written(tmp_path / "odd.pt", stripped(legacy_class("models.common.Transformer")()))
    with pytest.raises(ArtifactError, match=r"needs: models\.common\.Transformer"):
        load_yolov5_pt(path)


def test_releases_before_v6_are_called_by_their_name(
    legacy_class: Callable[[str], type[nn.Module]], tmp_path: Path
) -> None:
    path = written(tmp_path / "v5.pt", stripped(legacy_class("models.common.Focus")()))
    with pytest.raises(ArtifactError, match=r"before v6\.0: it uses models\.common\.Focus"):
        load_yolov5_pt(path)


def test_nothing_of_the_original_needs_to_be_installed(
    pickled: Callable[..., nn.Module], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = written(tmp_path / "old.pt", stripped(pickled()))
    for name in [n for n in sys.modules if n.split(".")[0] == "models"]:
        monkeypatch.delitem(sys.modules, name)

    assert len(load_yolov5_pt(path).weights) == 349


@pytest.mark.parametrize("kept", [0, 100, 0.5, 0.999])
def test_a_truncated_file_is_refused(kept: float, pickled: Callable[..., nn.Module], tmp_path: Path) -> None:
    path = written(tmp_path / "cut.pt", stripped(pickled()))
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data)) if kept < 1 else int(kept)])
    with pytest.raises(ArtifactError, match=r"truncated|broken zip"):
        load_yolov5_pt(path)


def test_damaged_bytes_are_refused(pickled: Callable[..., nn.Module], tmp_path: Path) -> None:
    path = written(tmp_path / "bad.pt", stripped(pickled()))
    data = bytearray(path.read_bytes())
    data[200:1200] = bytes(1000)  # inside data.pkl, the first entry
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match="is not a readable torch checkpoint"):
        load_yolov5_pt(path)


@pytest.mark.parametrize("name", [b"archive/d\xff\xfea.pkl", b"archive/\xed\xa0\x80data"])
def test_names_in_the_zip_that_are_not_utf8_are_refused(
    name: bytes, pickled: Callable[..., nn.Module], tmp_path: Path
) -> None:
    path = written(tmp_path / "bad.pt", stripped(pickled()))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("\u00e9" * (len(name) // 2) + "x" * (len(name) % 2), b"")  # marked as UTF-8
    data = path.read_bytes()
    old = ("\u00e9" * (len(name) // 2) + "x" * (len(name) % 2)).encode()
    path.write_bytes(data.replace(old, name))
    with pytest.raises(ArtifactError, match="is a broken zip file"):
        load_yolov5_pt(path)


@pytest.mark.parametrize("odd", [b"\xff\xfe", b"\xed\xa0"])
def test_strings_in_the_pickle_that_are_not_utf8_are_refused(
    odd: bytes, pickled: Callable[..., nn.Module], tmp_path: Path
) -> None:
    path, bad = written(tmp_path / "good.pt", stripped(pickled())), tmp_path / "bad.pt"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(bad, "w") as new:
        for entry in old.namelist():
            new.writestr(entry, old.read(entry).replace(b"yellow", odd * 3))
    with pytest.raises(ArtifactError):
        load_yolov5_pt(bad)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "picture.pt"
    path.write_bytes(b"\xff\xd8\xff" + bytes(1000))
    with pytest.raises(ArtifactError, match=r"picture\.pt \(1003 bytes\) is not a torch zip file"):
        load_yolov5_pt(path)


def test_a_zip_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(ArtifactError, match="is not a readable torch checkpoint"):
        load_yolov5_pt(tmp_path / "a.pt")


def test_a_zip_bomb_is_refused_before_it_is_unpacked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(distill.checkpoints.safe_unpickle, "MAX_FILE_BYTES", 1 << 20)
    with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(2 << 20))
    with pytest.raises(ArtifactError, match="has 2097152 bytes unpacked"):
        load_yolov5_pt(tmp_path / "bomb.pt")


def test_a_pickle_bomb_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(distill.checkpoints.safe_unpickle, "MAX_PICKLE_BYTES", 1000)
    path = written(tmp_path / "bomb.pt", {"model": list(range(10_000))})
    with pytest.raises(ArtifactError, match="the limits are"):
        load_yolov5_pt(path)


@pytest.mark.parametrize("content", [{}, [1, 2], {"model": OrderedDict(a=torch.zeros(1))}, torch.zeros(2)])
def test_a_file_without_a_model_says_so(content: object, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="has no YOLOv5 model under 'ema' or 'model'"):
        load_yolov5_pt(written(tmp_path / "a.pt", content))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["red"], "has 1 class names, but its head has 4 classes"),
        (None, "has no class names"),
        ([1, 2, 3, 4], "class names that are not strings"),
    ],
    ids=["too-few", "none", "numbers"],
)
def test_names_must_fit_the_head(
    names: object, message: str, pickled: Callable[..., nn.Module], tmp_path: Path
) -> None:
    with pytest.raises(ArtifactError, match=message):
        load_yolov5_pt(written(tmp_path / "a.pt", stripped(pickled(names=names))))


def change_layer(pickled: Callable[..., nn.Module], index: int, layer: nn.Module) -> nn.Module:
    """The module tree with another layer at one place."""
    model = pickled()
    network = model.get_submodule("model")
    assert isinstance(network, nn.Sequential)
    network[index] = layer
    return model


@pytest.mark.parametrize(
    ("index", "layer", "message"),
    [
        pytest.param(5, nn.SiLU(), r"model\.5\.conv\.weight", id="layer-missing"),
        pytest.param(11, nn.Conv2d(1, 1, 1), r"model\.11\.weight", id="layer-too-many"),
        pytest.param(0, nn.Conv2d(1, 1, 1), "stem missing", id="no-stem"),
    ],
)
def test_a_changed_architecture_is_refused(
    index: int, layer: nn.Module, message: str, pickled: Callable[..., nn.Module], tmp_path: Path
) -> None:
    path = written(tmp_path / "a.pt", stripped(change_layer(pickled, index, layer)))
    with pytest.raises(ArtifactError, match=message):
        load_yolov5_pt(path)


def bare(model: nn.Module, attributes: Mapping[str, object]) -> nn.Module:
    model.__dict__.update(attributes)
    return model


def test_a_tree_that_holds_itself_comes_to_an_end(pickled: Callable[..., nn.Module], tmp_path: Path) -> None:
    model = pickled()
    model._modules["again"] = model

    assert len(load_yolov5_pt(written(tmp_path / "a.pt", stripped(model))).weights) == 349


@pytest.mark.parametrize(
    "attributes",
    [{"_modules": [1, 2]}, {"_modules": {"model": 7}}, {"_modules": {}, "_buffers": "x"}],
    ids=["list", "number", "text"],
)
def test_odd_attributes_are_no_crash(
    attributes: Mapping[str, object], pickled: Callable[..., nn.Module], tmp_path: Path
) -> None:
    with pytest.raises(ArtifactError, match="has no YOLOv5 v6/v7 P5 network"):
        load_yolov5_pt(written(tmp_path / "a.pt", stripped(bare(pickled(), attributes))))


@pytest.mark.parametrize(
    "tensor",
    [
        pytest.param(torch.empty(16, 3, 6, 6, device="meta"), id="without-values"),
        pytest.param(torch.zeros(16, 3, 6, 6).to_sparse(), id="sparse"),
        pytest.param(torch.zeros(16, 3, 6, 6, dtype=torch.complex64), id="complex"),
        pytest.param(torch.zeros(1).expand(16, 10**6, 10**6), id="blown-up"),
    ],
)
def test_odd_tensors_are_no_crash(
    tensor: torch.Tensor, pickled: Callable[..., nn.Module], tmp_path: Path
) -> None:
    model = pickled()
    model.get_submodule("model.0.conv").__dict__["_parameters"] = {"weight": tensor}
    with pytest.raises(ArtifactError, match=r"network: stem missing|is not a yolov5n"):
        load_yolov5_pt(written(tmp_path / "a.pt", stripped(model)))


def test_every_refusal_is_two_lines(tmp_path: Path) -> None:
    path = written(tmp_path / "evil.pt", stripped(Payload("true")))
    with pytest.raises(ArtifactError) as caught:
        load_yolov5_pt(path)

    assert re.fullmatch(r"[^\n]+\n  hint: [^\n]+", str(caught.value))
    assert caught.value.exit_code == 4


def test_the_published_checkpoint_loads_strictly(shared_data: Path) -> None:
    checkpoint = load_yolov5_pt(shared_data / "weights" / "yolov5n.pt")

    assert len(checkpoint.weights) == 349
    assert (checkpoint.spec.name, checkpoint.spec.nc) == ("yolov5n", 80)
    assert checkpoint.sha256.startswith("4f180cf2")


@pytest.mark.usefixtures("undrawn")
def test_what_is_trained_from_such_a_file_states_its_licence(
    pickled: Callable[..., nn.Module], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = written(tmp_path / "old.pt", stripped(pickled()))
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "a.png"), np.full((64, 64, 3), 90, np.uint8))
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.txt").write_text("0 0.5 0.5 0.3 0.3\n")
    data = tmp_path / "data.yaml"
    data.write_text(f"train: images\nval: images\nnames: {CLASSES}\n")
    words = [
        "--data",
        str(data),
        "--set",
        "input_hw=[64, 64]",
        "--set",
        "train_hw=[64, 64]",
        "--set",
        "epochs=1",
    ]
    for init, out in ((start, tmp_path / "first"), (tmp_path / "first" / "best", tmp_path / "second")):
        run = ["distill", "traffic-lights", "--init", str(init), "--out", str(out), "--set", "methods={}"]
        assert main([*run, *words]) == 0
        capsys.readouterr()
        assert main(["inspect", str(out / "best")]) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["about"]["recipe"]["student"]["init"] == str(init)
        assert told["weights_licence"] == "AGPL-3.0 or GPL-3.0, from initial weights of YOLOv5: old.pt"


def test_such_a_file_is_run_as_it_is(
    pickled: Callable[..., nn.Module],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    start = written(tmp_path / "old.pt", {**stripped(pickled()), "opt": {"imgsz": 64}})
    cv2.imwrite(str(tmp_path / "a.png"), np.full((64, 64, 3), 90, np.uint8))
    assert main(["run", str(start), "--source", str(tmp_path / "a.png")]) == 0
    made = Path(json.loads(capsys.readouterr().out)["model"])
    assert made.is_relative_to(tmp_path / "cache")
    assert open_detector(made).spec.classes == tuple(CLASSES)
