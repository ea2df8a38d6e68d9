"""Good inputs of every kind, made once and as needed; a case damages its own copy."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[3]
NAMES = ("red", "yellow", "green", "off")
SMALL = """
input_hw = [64, 96]
train_hw = [64, 64]
epochs = 1
batch = 2
threads = 1
"""
#: A study of one cell; the same words continue it.
STUDY = (
    "study",
    "study.toml",
    "--data",
    "data/data.yaml",
    "--out",
    "studied",
    "--only",
    "none",
    "--jobs",
    "1",
)


def picture(path: Path, seed: int, size_wh: tuple[int, int] = (96, 64)) -> None:
    """A picture of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(seed).integers(0, 255, (size_wh[1], size_wh[0], 3), np.uint8)
    assert cv2.imwrite(str(path), image)


def onnx_file(root: Path) -> None:
    """A detector of one convolution, and a second of other weights."""
    from onnx import TensorProto, helper, numpy_helper, save

    from edgestill.spec import ModelSpec

    spec = ModelSpec(name="tiny", input_hw=(64, 96), classes=NAMES)
    for name, score in (("tiny.onnx", 0.9), ("other.onnx", 0.6)):
        rows = np.zeros((1, spec.cells, 5 + spec.nc), np.float32)
        rows[0, 0, :7] = (48, 32, 20, 20, score, 0.9, 0.1)
        weights = {"w": np.zeros((1, 3, 64, 96), np.float32), "shape": np.array([1, 1, 1]), "rows": rows}
        nodes = [
            helper.make_node("Conv", ["images", "w"], ["nothing"]),
            helper.make_node("Reshape", ["nothing", "shape"], ["zero"]),
            helper.make_node("Add", ["zero", "rows"], ["output0"]),
        ]
        graph = helper.make_graph(
            nodes,
            "tiny",
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 64, 96])],
            [helper.make_tensor_value_info("output0", TensorProto.FLOAT, list(rows.shape))],
            [numpy_helper.from_array(value, key) for key, value in weights.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        helper.set_model_props(model, spec.to_metadata())
        save(model, root / name)


def data(root: Path) -> None:
    """Five small pictures with labels."""
    folder = root / "data"
    for split, count in (("train", 3), ("val", 2), ("test", 1)):
        for i in range(count):
            picture(folder / "images" / split / f"{split}{i}.{'jpg' if i else 'png'}", i + 10 * count)
            label = folder / "labels" / split / f"{split}{i}.txt"
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_text(f"{i % 4} 0.5 0.5 0.25 0.25\n1 0.25 0.25 0.125 0.125\n")
    lines = [f"{split}: images/{split}" for split in ("train", "val", "test")]
    (folder / "data.yaml").write_text(
        "\n".join(["path: .", *lines, "names:", *(f"  {i}: '{n}'" for i, n in enumerate(NAMES))]) + "\n"
    )


def clip(root: Path) -> None:
    """A video of six frames."""
    writer = cv2.VideoWriter(str(root / "clip.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, (96, 64))
    for i in range(6):
        writer.write(np.full((64, 96, 3), 40 * i, np.uint8))
    writer.release()


def checkpoint(root: Path) -> None:
    """The shipped student."""
    shutil.copytree(ROOT / "edgestill" / "weights" / "student", root / "ckpt")


def recipes(root: Path) -> None:
    """A recipe, a study and a class map."""
    (root / "recipe.toml").write_text(
        f'{SMALL}\n[student]\nmodel = "yolov5n"\n\n[methods.logits]\nweight = 1.0\n'
    )
    (root / "study.toml").write_text(
        'recipe = "traffic-lights"\nseeds = [0]\narms = ["none", "light"]\nagainst = ["none"]\n\n'
        '[students]\nyolov5n = "yolov5n"\n\n[arm.light]\nmethods.logits.weight = 0.5\n\n[settings]' + SMALL
    )
    (root / "classes.toml").write_text('names = ["red", "other"]\n\n[map]\nperson = "other"\n')


def converted(root: Path) -> None:
    """One small folder of each foreign format."""
    coco = root / "coco"
    picture(coco / "train2017" / "a.jpg", 1)
    record = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 96, "height": 64}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 3, "bbox": [8, 8, 20, 20], "iscrowd": 0}],
        "categories": [{"id": 3, "name": "person"}],
    }
    (coco / "annotations").mkdir()
    (coco / "annotations" / "instances_train2017.json").write_text(json.dumps(record))
    voc = root / "voc"
    picture(voc / "JPEGImages" / "b.jpg", 2)
    (voc / "Annotations").mkdir()
    box = "<bndbox><xmin>5</xmin><ymin>5</ymin><xmax>30</xmax><ymax>30</ymax></bndbox>"
    (voc / "Annotations" / "b.xml").write_text(
        "<annotation><filename>b.jpg</filename><size><width>96</width><height>64</height><depth>3</depth></size>"
        f"<object><name>person</name><difficult>0</difficult>{box}</object></annotation>"
    )
    bstld = root / "bstld"
    picture(bstld / "rgb" / "train" / "x" / "1.png", 3, (1280, 720))
    (bstld / "train.yaml").write_text(
        "- boxes:\n  - {label: Red, occluded: false, x_max: 60.0, x_min: 40.0, y_max: 80.0, y_min: 50.0}\n"
        "  path: ./rgb/train/x/1.png\n"
    )
    lisa = root / "lisa"
    picture(lisa / "dayTrain" / "dayTrain" / "dayClip1" / "frames" / "dayClip1--00000.jpg", 4)
    table = lisa / "Annotations" / "Annotations" / "dayTrain" / "dayClip1" / "frameAnnotationsBOX.csv"
    table.parent.mkdir(parents=True)
    table.write_text(
        "Filename;Annotation tag;Upper left corner X;Upper left corner Y;"
        "Lower right corner X;Lower right corner Y;"
        "Origin file;Origin frame number;Origin track;Origin track frame number\n"
        "dayTraining/dayClip1--00000.jpg;stop;10;10;30;30;x.avi;0;x;0\n"
    )


def trained(root: Path) -> None:
    """The folder of a finished run, and its teacher."""
    _verb(root, "distill", "recipe.toml", "--data", "data/data.yaml", "--out", "run", "--set", "methods={}")


def interrupted(root: Path) -> None:
    """The folder of a run that was ended before it wrote its result."""
    from unittest import mock

    with mock.patch("distill.train.write_result", side_effect=KeyboardInterrupt):
        words = ("distill", "recipe.toml", "--data", "data/data.yaml", "--out", "half", "--set", "methods={}")
        _verb(root, *words, code=130)


def exported(root: Path) -> None:
    """The run's network as ONNX and OpenVINO, in 32 and 8 bits, and the calibration's cache."""
    for target, precision in (("onnx", "fp32"), ("openvino", "fp32"), ("onnx", "int8")):
        words = ["export", "run/best", "--to", target, "--precision", precision, "--out", "models"]
        _verb(root, *words, *(["--calib", "data/data.yaml"] if precision == "int8" else []))


def torch_file(root: Path) -> None:
    """A ``.pt`` file as YOLOv5 writes it: the network under the names of classes that are not here."""
    import sys
    from types import ModuleType
    from unittest import mock

    import torch
    from torch import nn

    from distill.models import blocks, coupled
    from distill.models.yolov5 import build

    homes = {kind: f"models.common.{kind.__name__}" for kind in (blocks.Conv, blocks.C3, blocks.Bottleneck)}
    homes |= {kind: f"models.common.{kind.__name__}" for kind in (blocks.SPPF, blocks.Concat)}
    homes[coupled.Coupled] = "models.yolo.Detect"
    modules = {name: ModuleType(name) for name in ("models", "models.common", "models.yolo")}

    def stand_in(path: str) -> type[nn.Module]:
        home, _, name = path.rpartition(".")
        if not hasattr(modules[home], name):
            setattr(modules[home], name, type(name, (nn.Module,), {"__module__": home}))
        found: type[nn.Module] = getattr(modules[home], name)
        return found

    def convert(module: nn.Module) -> nn.Module:
        kind = stand_in(homes[type(module)]) if type(module) in homes else type(module)
        twin = kind.__new__(kind)
        twin.__dict__.update(module.__dict__)
        twin._modules = {n: convert(m) for n, m in module._modules.items() if m is not None}
        return twin

    with mock.patch.dict(sys.modules, modules):
        model = stand_in("models.yolo.DetectionModel")()
        model.model = nn.Sequential(*(convert(m) for m in build("n", len(NAMES)).half().model))
        model.__dict__.update(yaml={"nc": 4}, names=list(NAMES), stride=torch.tensor([8.0]))
        torch.save({"epoch": -1, "model": model, "ema": None, "optimizer": None}, root / "old.pt")


def studied(root: Path) -> None:
    """The folder of a study of one cell."""
    _verb(root, *STUDY)


def conversion(root: Path) -> None:
    """The folder of a finished conversion."""
    _verb(root, "data", "convert", "coco", "coco", "--out", "conv")


def results(root: Path) -> None:
    """Results of bench and eval."""
    for name in ("a", "b"):
        words = ["bench", "tiny.onnx", "--duration-s", "0.1", "--min-samples", "3", "--warmup-s", "0"]
        _verb(root, *words, "--out", f"{name}.json")
    text = _verb(root, "eval", "tiny.onnx", "--data", "data/data.yaml")
    (root / "eval.json").write_text(text)


def engine(root: Path) -> None:
    """A file called engine, with the manifest of one."""
    from edgestill.files import sha256_file
    from edgestill.manifest import Manifest, write_manifest
    from edgestill.spec import ModelSpec

    path = root / "x.engine"
    header = json.dumps({"task": "detect", "names": {"0": "red"}, "stride": 32, "imgsz": [64, 96]}).encode()
    path.write_bytes(len(header).to_bytes(4, "little") + header + bytes(200))
    home = {"family": "tensorrt", "version": "10.3.0", "gpu": "NVIDIA L4", "compute_capability": "8.9"}
    manifest = Manifest(
        spec=ModelSpec(name="x", input_hw=(64, 96), classes=NAMES),
        format="tensorrt",
        files={path.name: sha256_file(path)},
        precision="fp32",
        precision_proved={"executed": {"float32": 1}},
        inputs=(),
        outputs=(),
        built_with={"tensorrt": "10.3.0"},
        parent_sha256="0" * 64,
        built_on={**home, "sms": 58, "system": "driver 1", "portable": [], "mark": "0" * 64},
    )
    write_manifest(path, manifest)


#: Each material, and those that it is made from.
MAKERS: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "onnx": (onnx_file, ()),
    "data": (data, ()),
    "clip": (clip, ()),
    "ckpt": (checkpoint, ()),
    "recipes": (recipes, ()),
    "converted": (converted, ()),
    "run": (trained, ("recipes", "data")),
    "half": (interrupted, ("recipes", "data")),
    "models": (exported, ("run",)),
    "pt": (torch_file, ()),
    "studied": (studied, ("recipes", "data")),
    "conversion": (conversion, ("converted",)),
    "results": (results, ("onnx", "data")),
    "engine": (engine, ()),
}


def make(root: Path, names: set[str]) -> None:
    """Make what is wanted, and what that is made from, in the folder ``root``."""
    root.mkdir(parents=True, exist_ok=True)
    for name in MAKERS:
        if (
            name in names | {n for wanted in names for n in _below(wanted)}
            and not (root / f".{name}").exists()
        ):
            MAKERS[name][0](root)
            (root / f".{name}").touch()


def _below(name: str) -> set[str]:
    first = set(MAKERS[name][1])
    return first | {deeper for n in first for deeper in _below(n)}


def _verb(root: Path, *words: str, code: int = 0) -> str:
    """Run a verb in a folder; returns its output."""
    import contextlib
    import io

    from edgestill.cli.main import main

    here, said = Path.cwd(), io.StringIO()
    os.environ["XDG_CACHE_HOME"] = str(root / "cache")
    os.chdir(root)
    try:
        with contextlib.redirect_stdout(said):
            ended = main([*words])
    finally:
        os.chdir(here)
    assert ended == code, words
    return said.getvalue()
