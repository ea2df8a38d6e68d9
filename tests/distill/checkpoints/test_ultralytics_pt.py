"""Checkpoints of the ultralytics package teach, and none of their code is run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from distill.checkpoints import native
from distill.checkpoints.ultralytics_import import import_ultralytics
from distill.checkpoints.ultralytics_pt import is_ultralytics_pt, load_ultralytics_pt
from distill.data.loader import Batch
from distill.method import NetworkOutputs, StudentTeacherInfo
from distill.methods import score_l2
from distill.recipe import Recipe
from distill.recipe_toml import load_recipe
from distill.teacher import Teacher, load_teacher
from distill.training.precision import ComputeConfig, resolve
from distill.training.setup import build_run
from distill.training.step import step
from edgestill.errors import ArtifactError, UsageError

CLASSES = ("car", "bus", "dog")
YOLOV5U, YOLOV8, YOLO11, YOLO26 = "yolov5n", "yolov8n", "yolo11n", "yolo26n"
FAMILIES = [YOLOV5U, YOLOV8, YOLO11, YOLO26]
IMAGES = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
TRACE = "a payload ran"

Published = Callable[[str], Path]


@pytest.fixture(scope="session")
def tasks() -> Any:
    """The package's networks; its import says something to nobody and asks nobody anything."""
    from distill.checkpoints.ultralytics_import import import_ultralytics

    return import_ultralytics("nn.tasks", "these tests")


@pytest.fixture(scope="session")
def network(tasks: Any) -> Callable[[str], Any]:
    """Networks as a training of the package leaves them, by the name of their table; not to be changed."""
    made: dict[str, Any] = {}

    def make(name: str) -> Any:
        if name not in made:
            torch.manual_seed(0)
            model = tasks.DetectionModel(f"{name}.yaml", nc=len(CLASSES), verbose=False)
            for module in model.modules():
                if isinstance(module, nn.BatchNorm2d):  # fresh ones would let almost nothing through
                    module.running_mean.normal_(0, 0.1)
                    module.running_var.uniform_(0.02, 0.1)
            model.names = dict(enumerate(CLASSES))
            model.args = {"imgsz": 640}
            made[name] = model.half()
        return made[name]

    return make


@pytest.fixture(scope="session")
def published(
    network: Callable[[str], Any], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """Their files in the form of a finished training."""
    folder = tmp_path_factory.mktemp("published")

    def write(name: str) -> Path:
        path = folder / f"{name}.pt"
        return path if path.exists() else written(path, network(name))

    return write


@pytest.fixture(scope="session")
def teacher_of(published: Published) -> Callable[[str], Teacher]:
    """They as teachers; only to be looked at."""
    return cache(lambda name: load_teacher(str(published(name))))


@pytest.fixture(scope="module")
def compute() -> ComputeConfig:
    return resolve("cpu", "fp32")


def written(path: Path, model: object, **more: object) -> Path:
    """What the package's strip_optimizer leaves."""
    stripped = {
        "date": "2026-01-01",
        "version": "8.4",
        "epoch": -1,
        "best_fitness": None,
        "model": model,
        "ema": None,
        "optimizer": None,
        "train_args": {"imgsz": 640, "data": "x.yaml"},
    }
    torch.save({**stripped, **more}, path)
    return path


def close(a: Tensor, b: Tensor) -> bool:
    """Equal but for what folding the batch norms rounds, which random weights blow up."""
    return bool((a - b).norm() < 1e-2 * b.norm()) and float(b.std()) > 0


# --- what it sees


@pytest.mark.default_cases("yolo26n")
@pytest.mark.parametrize("name", FAMILIES)
def test_a_teacher_sees_what_the_package_sees(
    name: str, network: Callable[[str], Any], teacher_of: Callable[[str], Teacher], compute: ComputeConfig
) -> None:
    view = teacher_of(name).forward_features(IMAGES, compute)

    with torch.no_grad():
        _, wanted = deepcopy(network(name)).float().eval()(IMAGES)
    wanted = wanted.get("one2many", wanted)
    assert all(close(a, b) for a, b in zip(view.features.values(), wanted["feats"], strict=True))
    rows = torch.cat([level.flatten(1, 3) for level in view.raw], 1)  # [B, A, columns]
    assert close(rows[..., -len(CLASSES) :], wanted["scores"].transpose(1, 2))
    if name == YOLO26:
        assert (view.head, rows.shape[2]) == (None, len(CLASSES))
    else:
        assert (view.head, rows.shape[2]) == ("dfl", 64 + len(CLASSES))
        assert close(rows[..., :64], wanted["boxes"].transpose(1, 2))


@pytest.fixture
def package_teacher(network: Callable[[str], Any]) -> Callable[[str], Any]:
    """Networks whose maps have the usual size, and whose two branches, if there are two, differ."""

    def make(name: str) -> Any:
        model = deepcopy(network(name)).float().train()
        torch.manual_seed(1)
        for tower in (*model.model[-1].cv3, *(getattr(model.model[-1], "one2one_cv3", None) or ())):
            nn.init.normal_(tower[-1].weight, std=0.3)
            nn.init.zeros_(tower[-1].bias)
        norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
        for norm in norms:
            norm.momentum = 1.0
        with torch.no_grad():
            model(IMAGES)
        for norm in norms:
            norm.momentum = 0.03
        return model.half().float().eval()  # a file holds FP16

    return make


@pytest.mark.default_cases("yolo26n")
@pytest.mark.parametrize("name", [YOLO26, "yolov10n", YOLOV8])
def test_score_l2_has_the_packages_value_for_its_teachers(
    name: str,
    package_teacher: Callable[[str], Any],
    compute: ComputeConfig,
    tmp_path: Path,
) -> None:
    """The package trains one step; its loss is that of the method for the same maps and projectors."""
    package = import_ultralytics("nn.distill_model", "these tests")
    student = package_teacher(YOLOV5U)
    student.args = import_ultralytics("cfg", "these tests").get_cfg(overrides={"imgsz": 64})
    theirs = package.DistillationModel(package_teacher(name), student).train()
    labels = {"batch_idx": torch.zeros(1), "cls": torch.ones(1, 1), "bboxes": torch.full((1, 4), 0.4)}
    _, items = theirs.loss({"img": IMAGES, **labels})

    teacher = load_teacher(str(written(tmp_path / f"{name}.pt", package_teacher(name).half())))
    view = teacher.forward_features(IMAGES, compute)
    assert bool(view.one_to_one) == (name != YOLOV8)
    maps = dict(zip(view.features, list(theirs._student_feats.values())[:3], strict=True))
    info = StudentTeacherInfo(
        student_channels={level: part.shape[1] for level, part in maps.items()},
        teacher_channels=teacher.info.channels,
        strides=(8, 16, 32),
        anchors_px=(),
        nc=len(CLASSES),
        input_hw=(64, 96),
        head="dfl",
        teacher_head=teacher.info.head,
    )
    ours = score_l2.Loss(score_l2.Config(weight=student.args.dis), info)
    levels = dict(zip("012", maps, strict=True))
    ours.project.load_state_dict({levels[k[0]] + k[1:]: v for k, v in theirs.projector.state_dict().items()})
    found = sum(ours(NetworkOutputs(maps, []), view, torch.zeros(0, 6)).values())
    assert isinstance(found, Tensor)
    wanted = items["dis_loss"].squeeze()
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=0)
    one_branch = sum(ours(NetworkOutputs(maps, []), replace(view, one_to_one=()), torch.zeros(0, 6)).values())
    assert isinstance(one_branch, Tensor)
    assert (abs(one_branch / wanted - 1) > 1e-3) == (name != YOLOV8)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_teacher_says_what_it_is(name: str, teacher_of: Callable[[str], Teacher]) -> None:
    info = teacher_of(name).info

    assert (info.name, info.classes, info.strides) == (name, CLASSES, (8, 16, 32))
    assert info.channels == {"p3": 64, "p4": 128, "p5": 256}
    assert info.anchors_px == ()


@pytest.mark.slow
def test_a_foreign_teacher_teaches_features_of_other_classes(
    recipe: Recipe, published: Published, tmp_path: Path
) -> None:
    methods = {"cwd": recipe.methods["cwd"]}
    run = build_run(
        replace(recipe, teacher=str(published(YOLO26)), methods=methods), tmp_path, ("red", "green")
    )
    assert run.teacher is not None
    before = {name: t.clone() for name, t in run.teacher.model.state_dict().items()}
    run.teacher.model.train()
    targets = torch.tensor([[0, 1, 0.5, 0.5, 0.4, 0.4]])
    values = step(run, Batch((IMAGES * 255).to(torch.uint8), targets), {"cwd": 1.0})

    assert values["cwd_p3"] > 0
    after = run.teacher.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.slow
def test_a_foreign_teacher_teaches_predictions_of_the_same_head(
    data: Path, published: Published, tmp_path: Path
) -> None:
    settings = [
        f"teacher={published(YOLOV8)}",
        "student.head=dfl",
        "train_hw=[64, 64]",
        "methods={logits={}}",
    ]
    run = build_run(load_recipe("traffic-lights", settings, [str(data)]), tmp_path, CLASSES)
    values = step(run, Batch((IMAGES * 255).to(torch.uint8), torch.zeros(0, 6)), {"logits": 1.0})

    assert values["logits_cls"] > 0


@pytest.mark.slow
def test_other_strides_are_refused_by_name(recipe: Recipe, published: Published, tmp_path: Path) -> None:
    path = published("yolov8n-p2")
    with pytest.raises(UsageError, match="maps at strides 4, 8, 16, 32, the student at 8, 16, 32\n"):
        build_run(replace(recipe, teacher=str(path)), tmp_path, CLASSES)


@pytest.mark.slow
def test_a_random_teacher_has_the_architecture_and_other_weights(
    published: Published, teacher_of: Callable[[str], Teacher]
) -> None:
    trained, random = teacher_of(YOLO11), load_teacher(str(published(YOLO11)), "random", 5)

    assert random.info == trained.info
    odd = [name for name, digest in trained.checksums.items() if random.checksums[name] == digest]
    assert [name for name in odd if ".bn." not in name] == []  # a fresh batch norm is all ones in both


@pytest.mark.slow
def test_the_average_is_taken_from_an_unfinished_training(
    network: Callable[[str], Any], tasks: Any, tmp_path: Path, compute: ComputeConfig
) -> None:
    average = deepcopy(network(YOLOV8))
    average.args = tasks.IterableSimpleNamespace(imgsz=640)
    path = written(
        tmp_path / "last.pt",
        None,
        ema=average,
        best_fitness=np.float64(0.5),
        optimizer=torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1).state_dict(),
        git={"root": PurePosixPath("/x")},
    )

    assert load_teacher(str(path)).info.name == YOLOV8


@pytest.mark.slow
def test_the_student_is_taken_from_a_distillation(network: Callable[[str], Any], tmp_path: Path) -> None:
    from ultralytics.nn.distill_model import DistillationModel

    both = DistillationModel.__new__(DistillationModel)
    nn.Module.__init__(both)
    both.student_model, both.projector = network(YOLOV8), nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU())
    both._teacher_feats, both._student_feats = {}, {}

    assert load_teacher(str(written(tmp_path / "a.pt", None, ema=both))).info.name == YOLOV8


def test_loading_says_nothing(published: Published, capfd: pytest.CaptureFixture[str]) -> None:
    load_ultralytics_pt(published(YOLOV8))

    assert capfd.readouterr() == ("", "")


# --- YOLOv5u as our own


def test_yolov5u_is_a_network_of_ours(network: Callable[[str], Any], published: Published) -> None:
    model, contract, _ = native.load(published(YOLOV5U))

    assert (contract.name, contract.head, contract.classes) == ("yolov5n", "dfl", CLASSES)
    with torch.no_grad():
        raw = model(IMAGES)
        _, wanted = deepcopy(network(YOLOV5U)).float().eval()(IMAGES)
    rows = torch.cat([level.flatten(1, 3) for level in raw], 1)
    assert close(rows, torch.cat((wanted["boxes"], wanted["scores"]), 1).transpose(1, 2))


def test_a_student_starts_from_yolov5u(data: Path, published: Published, tmp_path: Path) -> None:
    settings = [f"student.init={published(YOLOV5U)}", "student.head=dfl", "methods={}"]
    run = build_run(load_recipe("traffic-lights", settings, [str(data)]), tmp_path, CLASSES)
    given, _, _ = native.load(published(YOLOV5U))

    taken = run.model.state_dict()
    assert all(torch.equal(tensor, taken[name]) for name, tensor in given.state_dict().items())


def test_another_network_is_no_student(published: Published) -> None:
    with pytest.raises(ArtifactError, match=r"is not a YOLOv5 network: .*\n  hint: use it as a teacher"):
        native.load(published(YOLOV8))


# --- what is refused


class Payload:
    """Leaves a trace when it is unpickled by someone careless."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch '{self.trace}'",)


def test_a_payload_is_refused_and_does_not_run(network: Callable[[str], Any], tmp_path: Path) -> None:
    path = written(tmp_path / "evil.pt", network(YOLOV8), extra=Payload(tmp_path / TRACE))
    assert is_ultralytics_pt(path)
    with pytest.raises(ArtifactError, match=r"no detection checkpoint needs: (posix|nt)\.system"):
        load_teacher(str(path))

    assert not (tmp_path / TRACE).exists()


def test_the_unpickler_itself_refuses_what_the_scan_would_miss(
    network: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "evil.pt", network(YOLOV8), extra=Payload(tmp_path / TRACE))
    names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    blind = [name for name in names if "system" not in name]
    monkeypatch.setattr(torch.serialization, "get_unsafe_globals_in_checkpoint", lambda _: blind)
    with pytest.raises(ArtifactError, match="is not a readable torch checkpoint"):
        load_teacher(str(path))

    assert not (tmp_path / TRACE).exists()


def bare(table: object) -> nn.Module:
    """A network without weights, with a table of layers."""
    model: nn.Module = nn.Module()
    model.yaml = table  # type: ignore[assignment]
    return model


CALL = f"__import__('pathlib').Path('{TRACE}').touch()"
ROWS = {"backbone": [[-1, 1, "Conv", [8, 3, 2]]], "head": [[[0, 0, 0], 1, "Detect", ["nc"]]]}


@pytest.mark.parametrize(
    "table",
    [
        pytest.param({"activation": CALL}, id="code-for-an-activation"),
        pytest.param({"activation": f"nn.SiLU() or {CALL}"}, id="code-after-an-activation"),
        pytest.param({"backbone": [[-1, 1, "check_requirements", ["a-package"]]]}, id="a-function"),
        pytest.param({"backbone": [[-1, 1, "TorchVision", [64, "resnet18"]]]}, id="a-download"),
        pytest.param({"backbone": [[-1, 1, "torchvision.ops.Conv2d", [64]]]}, id="another-library"),
        pytest.param({"backbone": [[-1, 1, "Conv", ["d"]]]}, id="a-local-name"),
        pytest.param({"backbone": [[-1, 1, ["Conv"], [8]]]}, id="no-name"),
        pytest.param({"backbone": [[-1, 10**9, "Conv", [8]]]}, id="too-many"),
        pytest.param({"backbone": [[-1, 1, "Conv"]]}, id="short-row"),
        pytest.param({"backbone": []}, id="no-rows"),
        pytest.param({"backbone": "Conv"}, id="text"),
        pytest.param({"channels": 1}, id="grey"),
        pytest.param({"nc": "80"}, id="classes-in-words"),
        pytest.param({"scales": {"n": [1]}, "scale": "n"}, id="half-a-scale"),
        pytest.param({"scales": {"n": [1, 1, 64]}, "scale": "x"}, id="no-such-scale"),
        pytest.param(None, id="none"),
    ],
)
def test_a_table_that_could_surprise_the_package_is_refused(
    table: dict[str, object] | None, tasks: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tasks, "parse_model", lambda *_, **__: pytest.fail("it came to the package"))
    model = bare(None if table is None else {"nc": 3, **ROWS, **table})
    model.__class__ = tasks.DetectionModel
    with pytest.raises(ArtifactError, match="the table of layers has"):
        load_ultralytics_pt(written(tmp_path / "evil.pt", model))

    assert not (tmp_path / TRACE).exists()


def test_a_table_that_the_package_cannot_build_is_refused(tasks: Any, tmp_path: Path) -> None:
    model = bare({"nc": 3, **ROWS, "head": [[[0, 7], 1, "Detect", ["nc"]]]})
    model.__class__ = tasks.DetectionModel
    with pytest.raises(ArtifactError, match="the installed ultralytics cannot build the network"):
        load_ultralytics_pt(written(tmp_path / "a.pt", model))


@pytest.mark.default_cases("SegmentationModel")
@pytest.mark.parametrize("task", ["SegmentationModel", "PoseModel", "ClassificationModel", "OBBModel"])
def test_other_tasks_are_refused_by_name(
    task: str, network: Callable[[str], Any], tasks: Any, tmp_path: Path
) -> None:
    model = deepcopy(network(YOLOV8))
    model.__class__ = getattr(tasks, task)
    with pytest.raises(UsageError, match=f"has a {task}, which is not a plain detector"):
        load_teacher(str(written(tmp_path / "a.pt", model)))


def test_a_detector_with_another_head_is_refused(tasks: Any, tmp_path: Path) -> None:
    model = bare({"nc": 3, **ROWS, "head": [[[0, 0, 0], 1, "Segment", ["nc", 32, 64]]]})
    model.__class__ = tasks.DetectionModel
    with pytest.raises((ArtifactError, UsageError), match="Segment"):
        load_ultralytics_pt(written(tmp_path / "a.pt", model))


def change(network: Any, how: Callable[[Any], None]) -> Any:
    model = deepcopy(network)
    how(model)
    return model


@pytest.mark.default_cases("missing", "shape")
@pytest.mark.parametrize(
    ("how", "message"),
    [
        pytest.param(lambda m: m.model[0].conv.__delattr__("weight"), "weight is missing", id="missing"),
        pytest.param(
            lambda m: m.model[0].register_buffer("x", torch.zeros(1)), "expected missing", id="surplus"
        ),
        pytest.param(
            lambda m: setattr(m.model[0], "conv", nn.Conv2d(3, 8, 3, bias=False)), "expected", id="shape"
        ),
        pytest.param(lambda m: m.float().eval().fuse(verbose=False), "not fused", id="fused"),
    ],
)
def test_weights_that_do_not_fit_their_table_are_refused(
    how: Callable[[Any], None], message: str, network: Callable[[str], Any], tmp_path: Path
) -> None:
    path = written(tmp_path / "a.pt", change(network(YOLOV8), how))
    with pytest.raises(ArtifactError) as caught:
        load_ultralytics_pt(path)

    assert message in str(caught.value)
    assert "are not those that the installed ultralytics expects" in str(caught.value)


def test_too_few_names_are_refused(network: Callable[[str], Any], tmp_path: Path) -> None:
    path = written(tmp_path / "a.pt", change(network(YOLOV8), lambda m: m.names.popitem()))
    with pytest.raises(ArtifactError, match="has 2 class names, but its head has 3 classes"):
        load_ultralytics_pt(path)


def test_a_file_without_a_network_says_so(tasks: Any, tmp_path: Path) -> None:
    path = written(tmp_path / "a.pt", None, args=tasks.IterableSimpleNamespace(imgsz=640))
    with pytest.raises(ArtifactError, match="has no network under 'ema' or 'model'"):
        load_ultralytics_pt(path)


@pytest.mark.slow
def test_the_package_loads_where_torchvision_does_not() -> None:
    script = (
        "import sys; sys.modules['torchvision'] = None\n"
        "from distill.checkpoints.ultralytics_import import import_ultralytics\n"
        "import_ultralytics('nn.tasks', 'a test')\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=300)
