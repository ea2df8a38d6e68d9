"""Teachers: what is loaded, that it stays as it is, whom it can teach, and the controls."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from distill import train
from distill.checkpoints import native
from distill.compatibility import check_comparable
from distill.data.loader import Batch
from distill.models.frozen import TeacherInfo
from distill.models.yolov5 import Yolov5, build, model_spec
from distill.recipe import METHODS, Recipe, TeacherMode
from distill.teacher import Teacher, checksums, load_teacher, make_teacher
from distill.training.precision import ComputeConfig, resolve
from distill.training.setup import TrainingRun, build_run
from distill.training.step import step
from edgestill.errors import ArtifactError, DataError, UsageError
from edgestill.spec import COCO_ANCHORS_PX, HeadKind, ModelSpec

CLASSES = ("red", "green")
INPUT_HW = (96, 160)
FEATURES = "cwd"  # a method of each kind
PREDICTIONS = "logits"
STRENGTHS = {FEATURES: 1.0, PREDICTIONS: 1.0}


@pytest.fixture(scope="module")
def compute() -> ComputeConfig:
    return resolve("cpu", "fp32")


def noise(count: int = 3, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, 64, 64, generator=torch.Generator().manual_seed(seed))


def batch(count: int = 4) -> Batch:
    images = (noise(count) * 255).to(torch.uint8).contiguous(memory_format=torch.channels_last)
    rows = [[i, i % 2, 0.5, 0.5, 0.3, 0.3] for i in range(count)]
    return Batch(images, torch.tensor(rows))


def lively(model: Yolov5) -> Yolov5:
    """Give a fresh network weights that let its input through, and batch norms with something to fold."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.05, 0.2, generator=generator)
    return model


def saved(
    folder: Path, size: str = "n", classes: tuple[str, ...] = CLASSES, head: HeadKind = "coupled"
) -> Path:
    torch.manual_seed(1)
    model = lively(build(size, len(classes), head=head))
    native.save(folder, model, model_spec(model, classes, INPUT_HW), {})
    return folder


@pytest.fixture(scope="module")
def coupled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("coupled") / "teacher")


def run_of(recipe: Recipe, teacher: Path, out: Path, teaching: TeacherMode = "trained") -> TrainingRun:
    return build_run(replace(recipe, teacher=str(teacher), teaching=teaching), out, CLASSES)


# --- what is loaded


@pytest.mark.default_cases("dfl")
@pytest.mark.parametrize("head", get_args(HeadKind))
def test_a_teacher_says_what_its_checkpoint_says(
    head: HeadKind, tmp_path: Path, compute: ComputeConfig
) -> None:
    path = saved(tmp_path / "t", head=head)
    model, contract, _ = native.load(path)
    teacher = load_teacher(str(path))

    view = teacher.forward_features(noise(), compute)

    with torch.no_grad():
        wanted = model(noise())
    assert (view.head, teacher.info.head) == (head, head)
    assert teacher.info.anchors_px == contract.anchors_px
    assert all(w.std() > 0.01 for w in wanted)  # else the next line would hold for any weights
    # Folding the batch norms rounds, and random weights blow that up.
    assert all((a - b).norm() < 1e-2 * b.norm() for a, b in zip(view.raw, wanted, strict=True))


def test_the_architecture_is_the_checkpoints_own(
    recipe: Recipe, tmp_path: Path, compute: ComputeConfig
) -> None:
    run = run_of(recipe, saved(tmp_path / "t", "s"), tmp_path)
    assert run.teacher is not None
    assert (run.spec.name, run.teacher.info.name) == ("yolov5n", "yolov5s")
    assert run.teacher.info.channels == {"p3": 128, "p4": 256, "p5": 512}
    features = run.teacher.forward_features(noise(1), compute).features
    assert {level: m.shape[1] for level, m in features.items()} == run.teacher.info.channels


def test_a_checkpoint_that_lacks_a_tensor_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "t")
    stored = native.read_checkpoint(path)
    weights = dict(stored.weights)
    del weights["model.9.cv1.bn.running_mean"]
    native.write_checkpoint(path, replace(stored, weights=weights))
    with pytest.raises(ArtifactError, match=r"1 tensors are missing, the first is model\.9\."):
        load_teacher(str(path))


def test_the_checksums_tell_networks_apart(coupled: Path, tmp_path: Path) -> None:
    loaded = load_teacher(str(coupled)).checksums
    model, _, _ = native.load(coupled)
    assert loaded == checksums(model)
    assert len(loaded) == 3
    fresh = checksums(build("n", 2))
    assert all(loaded[name] != fresh[name] for name in fresh if "bn" not in name)


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_the_log_and_the_result_name_the_teacher(
    recipe: Recipe, coupled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = replace(recipe, teacher=str(coupled), teaching="shuffled", epochs=1)
    result = train.train(short, tmp_path / "run")
    told = " ".join(capsys.readouterr().err.split())
    assert result["teacher"] == {
        "name": "yolov5n",
        "path": str(coupled),
        "teaching": "shuffled",
        "checksums": dict(load_teacher(str(coupled)).checksums),
    }
    assert "outputs of another image of the batch" in told
    assert all(digest in told for digest in result["teacher"]["checksums"].values())


# --- it stays as it is


def test_a_teacher_is_frozen_and_stays_so(coupled: Path) -> None:
    model = load_teacher(str(coupled)).model
    assert not any(p.requires_grad for p in model.parameters())
    torch.nn.ModuleList([model]).train()
    assert not any(module.training for module in model.modules())


def test_steps_leave_the_teacher_bit_for_bit(recipe: Recipe, coupled: Path, tmp_path: Path) -> None:
    run = run_of(recipe, coupled, tmp_path)
    assert run.teacher is not None
    before = {name: t.clone() for name, t in run.teacher.model.state_dict().items()}
    run.teacher.model.train()
    for _ in range(2):
        step(run, batch(), STRENGTHS)
    after = run.teacher.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(p.grad is None for p in run.teacher.model.parameters())


def test_a_teacher_has_no_running_statistics_that_could_drift(coupled: Path) -> None:
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in load_teacher(str(coupled)).model.modules())


def test_both_networks_see_the_same_tensor(
    recipe: Recipe, coupled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(recipe, coupled, tmp_path)
    seen: list[tuple[int, Tensor]] = []

    def note(_module: object, inputs: tuple[Tensor, ...]) -> None:
        seen.append((inputs[0].data_ptr(), inputs[0].clone()))

    assert run.teacher is not None
    for network in (run.teacher.model, run.model):
        network.register_forward_pre_hook(note)
    step(run, batch(), STRENGTHS)
    assert len(seen) == 2
    assert seen[0][0] == seen[1][0]
    assert torch.equal(seen[0][1], seen[1][1])


def test_what_it_shows_has_no_gradients_and_is_float32(coupled: Path) -> None:
    view = load_teacher(str(coupled)).forward_features(noise(), resolve("cpu", "bf16"))
    maps = [*view.features.values(), *view.raw]
    assert not any(m.requires_grad for m in maps)
    assert {m.dtype for m in maps} == {torch.float32}


def test_what_is_built_after_a_teacher_does_not_depend_on_it(coupled: Path) -> None:
    state = torch.random.get_rng_state()
    load_teacher(str(coupled))
    load_teacher(str(coupled), "random", 3)
    assert torch.equal(torch.random.get_rng_state(), state)


# --- controls


def test_a_random_teacher_has_the_architecture_and_other_weights(coupled: Path) -> None:
    trained, random = load_teacher(str(coupled)), load_teacher(str(coupled), "random", 0)
    assert random.info == trained.info
    odd = [name for name in trained.checksums if trained.checksums[name] == random.checksums[name]]
    assert [name for name in odd if ".bn." not in name] == []  # a fresh batch norm is all ones in both
    assert not torch.equal(next(random.model.parameters()), next(trained.model.parameters()))


def test_a_random_teacher_follows_from_the_seed(coupled: Path) -> None:
    first, again, other = (load_teacher(str(coupled), "random", seed).checksums for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_a_random_teacher_is_no_copy_of_a_fresh_student(
    recipe: Recipe, coupled: Path, tmp_path: Path
) -> None:
    run = run_of(recipe, coupled, tmp_path, "random")
    assert run.teacher is not None
    stem = "model.0.conv.weight"
    assert run.teacher.checksums[stem] != checksums(run.model)[stem]


def test_a_shuffled_teacher_shows_the_image_before(coupled: Path, compute: ComputeConfig) -> None:
    plain = load_teacher(str(coupled)).forward_features(noise(), compute)
    shuffled = load_teacher(str(coupled), "shuffled").forward_features(noise(), compute)
    pairs = [
        *((shuffled.features[level], m) for level, m in plain.features.items()),
        *zip(shuffled.raw, plain.raw, strict=True),
    ]
    assert len(pairs) == 6
    for moved, kept in pairs:
        assert torch.equal(moved[1], kept[0])
        assert torch.equal(moved[0], kept[-1])
        assert not torch.equal(moved[1], kept[1])  # the images do differ


@pytest.mark.parametrize("teaching", ["random", "shuffled"])
def test_a_student_learns_from_a_control(
    teaching: TeacherMode, recipe: Recipe, coupled: Path, tmp_path: Path
) -> None:
    run = run_of(recipe, coupled, tmp_path, teaching)
    before = [p.clone() for p in run.model.parameters()]
    values = step(run, batch(), STRENGTHS)
    assert {"cwd_p3", "logits_obj"} <= set(values)
    assert any(not torch.equal(a, b) for a, b in zip(before, run.model.parameters(), strict=True))


def test_one_image_cannot_be_shuffled(
    recipe: Recipe, coupled: Path, tmp_path: Path, compute: ComputeConfig
) -> None:
    with pytest.raises(UsageError, match=r"a second image in the batch.*\n  hint: --set batch=2"):
        run_of(replace(recipe, batch=1), coupled, tmp_path, "shuffled")
    with pytest.raises(UsageError, match="a second image in the batch"):
        load_teacher(str(coupled), "shuffled").forward_features(noise(1), compute)


# --- whom it can teach


def facts(**changes: Any) -> TeacherInfo:
    plain = TeacherInfo(
        name="yolov5s",
        classes=CLASSES,
        strides=(8, 16, 32),
        anchors_px=COCO_ANCHORS_PX,
        channels={"p3": 1, "p4": 1, "p5": 1},
        layers={"p3": 17, "p4": 20, "p5": 23},
        head="coupled",
    )
    return replace(plain, **changes)


def student(head: HeadKind = "coupled") -> ModelSpec:
    anchor_free = {"anchors_px": (), "layout": "yolov8"} if head == "dfl" else {}
    return ModelSpec(name="yolov5n", input_hw=INPUT_HW, classes=CLASSES, head=head, **anchor_free)


OTHERS: dict[str, dict[str, Any]] = {
    "classes": {"classes": ("red", "green", "blue")},
    "order": {"classes": ("green", "red")},
    "anchors": {"anchors_px": tuple(tuple((w + 1, h) for w, h in level) for level in COCO_ANCHORS_PX)},
    "dfl": {"head": "dfl", "anchors_px": ()},
    "class-scores-alone": {"head": None, "anchors_px": ()},
}


def test_there_are_methods_of_both_kinds() -> None:
    kinds = {METHODS.load(name).INPUTS for name in METHODS.names()}
    assert kinds == {"features", "predictions"}


@pytest.mark.parametrize("changes", [*OTHERS.values(), {}], ids=[*OTHERS, "alike"])
def test_features_are_compared_whatever_the_predictions_are(changes: dict[str, Any]) -> None:
    check_comparable([FEATURES], facts(**changes), Path("t"), student())


@pytest.mark.parametrize(
    ("teacher", "learner"),
    [("coupled", "coupled"), ("coupled", "decoupled"), ("decoupled", "coupled"), ("dfl", "dfl")],
)
def test_heads_with_the_same_columns_are_comparable(teacher: HeadKind, learner: HeadKind) -> None:
    changes: dict[str, Any] = {"anchors_px": ()} if teacher == "dfl" else {}
    check_comparable([PREDICTIONS], facts(head=teacher, **changes), Path("t"), student(learner))


@pytest.mark.parametrize(
    ("other", "error", "message", "hint"),
    [
        (
            "classes",
            DataError,
            "has 3 classes (red, green, blue); the data has 2 (red, green)",
            "train a teacher",
        ),
        ("order", DataError, "has 2 classes (green, red); the data has 2 (red, green)", "train a teacher"),
        ("anchors", UsageError, "has anchors that differ from the student's", "--set 'student.anchors_px="),
        ("dfl", UsageError, "has a dfl head, the student a coupled head", "--set student.head=dfl"),
        (
            "class-scores-alone",
            UsageError,
            "a head whose boxes cannot be compared",
            "use a method that compares features: ",
        ),
    ],
)
def test_predictions_that_cannot_be_compared_are_refused_with_a_way_out(
    other: str, error: type[Exception], message: str, hint: str
) -> None:
    with pytest.raises(error) as caught:
        check_comparable([FEATURES, PREDICTIONS], facts(**OTHERS[other]), Path("runs/t/best"), student())
    what, remedy = str(caught.value).split("\n  hint: ")
    assert what.startswith("logits compares predictions, and the teacher runs/t/best ")
    assert message in what
    assert remedy.startswith(hint)
    assert "cwd" in remedy  # a method that would do


def test_other_strides_are_refused_for_every_method() -> None:
    odd = facts(strides=(4, 8, 16, 32))
    with pytest.raises(UsageError, match=r"maps at strides 4, 8, 16, 32, the student at 8, 16, 32\n"):
        check_comparable([FEATURES], odd, Path("t"), student())


def test_a_recipe_that_cannot_be_taught_is_refused_before_it_trains(recipe: Recipe, tmp_path: Path) -> None:
    path = saved(tmp_path / "t", classes=("a", "b", "c"))
    with pytest.raises(DataError, match="logits compares predictions"):
        run_of(recipe, path, tmp_path)
    by_features = replace(recipe, teacher=str(path), methods={FEATURES: recipe.methods[FEATURES]})
    assert isinstance(make_teacher(by_features, student()), Teacher)
