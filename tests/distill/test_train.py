"""The training loop: it learns, goes on bit for bit, teaches only the student, refuses what does not fit."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from distill import train
from distill.checkpoints import native
from distill.data.loader import open_datasets
from distill.models.yolov5 import build, model_spec
from distill.recipe import Recipe
from distill.teacher import load_teacher
from distill.training.resume import STATE
from distill.training.run_folder import HISTORY
from distill.training.setup import TrainingRun, build_run, make_optimiser
from distill.training.torch_detector import TorchDetector
from distill.training.validation import Validation
from edgestill.boxes import xyxy_to_cxcywh
from edgestill.errors import ArtifactError, DataError, UsageError
from edgestill.files import sha256_file
from edgestill.history import read_history, without_timing
from runtime.metrics.evaluate import EVAL_CONF, EVAL_IOU, evaluate

pytestmark = pytest.mark.usefixtures("undrawn")
CLASSES = ("red", "green")
INPUT_HW = (96, 160)


@pytest.fixture(scope="module")
def finished(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("runs") / "whole"
    return out, train.train(recipe, out)


def losses(out: Path) -> list[dict[str, float | None]]:
    return [without_timing(row) for row in read_history(out / HISTORY)]


def interrupt_after(saves: int) -> Callable[[TrainingRun], None]:
    """A ``save_state`` that saves and then dies at the given call, as a killed process would."""
    left = saves

    def save_and_die(run: TrainingRun) -> None:
        nonlocal left
        original(run)
        left -= 1
        if not left:
            raise KeyboardInterrupt

    original = train.save_state
    return save_and_die


@pytest.mark.default_cases("inside-an-epoch")
@pytest.mark.parametrize(
    ("every", "saves"),
    [pytest.param(0, 2, id="at-the-end-of-an-epoch"), pytest.param(1, 3, id="inside-an-epoch")],
)
def test_a_resumed_run_repeats_the_whole_one_bit_for_bit(
    recipe: Recipe,
    finished: tuple[Path, dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    every: int,
    saves: int,
) -> None:
    interrupted = replace(recipe, save_every_steps=every)
    with monkeypatch.context() as patch:
        patch.setattr(train, "save_state", interrupt_after(saves))
        with pytest.raises(KeyboardInterrupt):
            train.train(interrupted, tmp_path)
    assert len(losses(tmp_path)) < recipe.epochs

    train.train(interrupted, tmp_path, resume=True)
    assert losses(tmp_path) == losses(finished[0])
    weights = "last/model.safetensors"
    assert sha256_file(tmp_path / weights) == sha256_file(finished[0] / weights)


def test_a_run_leaves_its_files_and_its_state(finished: tuple[Path, dict[str, Any]]) -> None:
    names = {path.name for path in finished[0].iterdir()}
    pictures = {Path(path).name for path in finished[1]["pictures"].values()}
    assert pictures == {"history.png", "curves.png", "confusion.png", "predictions.jpg"}
    assert names == {"best", "last", "history.csv", "result.json", STATE} | pictures


def test_the_result_names_every_file_of_the_folder(finished: tuple[Path, dict[str, Any]]) -> None:
    found = sorted(str(path) for path in finished[0].rglob("*") if path.is_file())
    assert finished[1]["files"] == found
    assert {str(finished[0] / name) for name in (STATE, "result.json")} < set(found)


def test_the_result_says_how_good_and_how_fast(finished: tuple[Path, dict[str, Any]], teacher: Path) -> None:
    result = finished[1]
    assert {"map50", "map50_95", "per_class", "seconds_per_step", "images_per_s", "seed"} <= set(result)
    assert set(result["per_class"]) == set(CLASSES)
    assert result["images"] == {"train": 8, "unlabelled": 0, "val": 2}
    labels = {name: sum(row.values()) for name, row in result["taken_for"].items() if name != "nothing"}
    assert labels == {name: score["labels"] for name, score in result["per_class"].items()}
    assert result["teacher"]["path"] == str(teacher)


def test_every_part_of_the_loss_has_its_column(finished: tuple[Path, dict[str, Any]]) -> None:
    with (finished[0] / "history.csv").open() as stream:
        header = next(csv.reader(stream))
    detection, maps = ["box", "obj", "cls"], ["cwd_p3", "cwd_p4", "cwd_p5"]
    answers = ["logits_cls", "logits_box", "logits_obj"]
    wanted = [*detection, *answers, *maps]
    assert [name for name in header if name in wanted] == wanted


def test_a_method_that_is_switched_off_has_empty_fields(finished: tuple[Path, dict[str, Any]]) -> None:
    rows = losses(finished[0])
    assert [row["logits_obj"] is None for row in rows] == [False, False, True, True]


def test_a_validation_has_its_row_and_the_others_are_empty(finished: tuple[Path, dict[str, Any]]) -> None:
    assert [row["map50"] is None for row in losses(finished[0])] == [True, False, True, False]


def test_a_checkpoint_holds_the_student_alone(finished: tuple[Path, dict[str, Any]]) -> None:
    model, contract, about = native.load(finished[0] / "best")
    assert model.name == "yolov5n"
    assert (contract.input_hw, contract.classes) == (INPUT_HW, CLASSES)
    assert about["recipe"]["methods"]["cwd"]["course"] == "cosine"


def test_validation_says_what_the_shared_evaluation_says(data: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build("n", len(CLASSES))
    with torch.no_grad():
        for level in model.head.m:
            level.bias.view(3, -1)[:, 4] += 6  # sees objects everywhere, so that there is something to score
    contract = model_spec(model, CLASSES, INPUT_HW)
    detector = TorchDetector(model, contract, conf=EVAL_CONF, iou=EVAL_IOU, multi_label=True)
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    for i in range(3):
        image = np.random.default_rng(i).integers(0, 255, (90, 160, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / f"images/{i}.png"), image)
        found = detector(image)
        # Some of its own detections are the truth: a score that is neither nothing nor perfect.
        rows = zip(found.class_id[:9:3], xyxy_to_cxcywh(found.xyxy[:9:3]) / (160, 90, 160, 90), strict=True)
        text = "\n".join(f"{k} {' '.join(map(str, box))}" for k, box in rows)
        (tmp_path / f"labels/{i}.txt").write_text(text)
    (tmp_path / "data.yaml").write_text("val: images\nnames: [red, green]\n")
    (dataset,) = open_datasets([tmp_path / "data.yaml"])

    score = Validation([dataset], contract, cache_mib=1, threads=1)(model).map50_95
    assert score is not None
    assert 0.05 < score < 0.95
    assert score == pytest.approx(evaluate(detector, dataset, "val").map50_95, abs=1e-6)


@pytest.mark.slow
def test_another_seed_is_another_run(plain: Recipe, tmp_path: Path) -> None:
    for seed in (0, 1):
        train.train(replace(plain, seed=seed), tmp_path / str(seed))
    assert losses(tmp_path / "0") != losses(tmp_path / "1")


def test_no_new_best_for_long_enough_stops_the_run(plain: Recipe, tmp_path: Path) -> None:
    still = replace(
        plain, epochs=9, patience=1, optimiser=replace(plain.optimiser, lr=1e-12, warmup_bias_lr=0.0)
    )
    result = train.train(still, tmp_path / "run")
    assert result["epochs"] == result["best_epoch"] + 1
    assert result["epochs"] < still.epochs


@pytest.mark.slow
def test_a_data_set_without_objects_trains(plain: Recipe, data: Path, tmp_path: Path) -> None:
    for kind in ("train", "val"):
        (tmp_path / "images" / kind).mkdir(parents=True)
        image = (data.parent / "images" / kind / "0.png").read_bytes()
        (tmp_path / "images" / kind / "0.png").write_bytes(image)
    (tmp_path / "data.yaml").write_text(data.read_text())
    result = train.train(replace(plain, data=(str(tmp_path / "data.yaml"),)), tmp_path / "run")
    assert result["map50"] is None


# --- what does not fit


def test_a_folder_that_holds_a_run_is_not_overwritten(
    recipe: Recipe, finished: tuple[Path, dict[str, Any]]
) -> None:
    with pytest.raises(UsageError, match=r"already holds a run .*\n  hint: --resume"):
        train.train(recipe, finished[0])


def test_a_finished_run_is_not_trained_again_by_resume(
    recipe: Recipe, finished: tuple[Path, dict[str, Any]]
) -> None:
    assert train.train(recipe, finished[0], resume=True) == finished[1]


@pytest.mark.slow
def test_force_replaces_a_run(plain: Recipe, tmp_path: Path) -> None:
    train.train(plain, tmp_path)
    assert train.train(replace(plain, seed=5), tmp_path, force=True)["seed"] == 5


def test_force_leaves_nothing_of_the_old_run(
    plain: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    train.train(plain, tmp_path)
    monkeypatch.setattr(train, "step", die)
    with pytest.raises(KeyboardInterrupt):
        train.train(plain, tmp_path, force=True)
    assert not {"best", "last", "history.csv", "result.json", STATE} & {p.name for p in tmp_path.iterdir()}


def test_resume_and_force_together_are_refused(plain: Recipe, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="exclude each other"):
        train.train(plain, tmp_path, resume=True, force=True)


@pytest.mark.slow
def test_resume_without_a_run_begins_one(plain: Recipe, tmp_path: Path) -> None:
    assert train.train(plain, tmp_path / "new", resume=True)["epochs"] == 1


def test_resume_with_another_recipe_names_what_differs(
    plain: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(train, "save_state", interrupt_after(1))
        with pytest.raises(KeyboardInterrupt):
            train.train(plain, tmp_path)
    found = r"another recipe: batch = 2 \(was 4\), optimiser.lr = 0.5 \(was "
    optimiser = replace(plain.optimiser, lr=0.5)
    with pytest.raises(UsageError, match=found):
        train.train(replace(plain, batch=2, optimiser=optimiser), tmp_path, resume=True)


@pytest.mark.slow
def test_a_run_goes_on_that_began_before_a_key_existed(
    plain: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(train, "save_state", interrupt_after(1))
        with pytest.raises(KeyboardInterrupt):
            train.train(plain, tmp_path)
    state = torch.load(tmp_path / STATE, weights_only=True)  # noqa: TID251
    stored = json.loads(state["recipe"])
    del stored["unlabelled"], stored["student"]["auto_anchor"]
    torch.save({**state, "recipe": json.dumps(stored)}, tmp_path / STATE)
    with pytest.raises(UsageError, match=r"another recipe: student.auto_anchor = true \(was false\)\n"):
        train.train(replace(plain, student=replace(plain.student, auto_anchor=True)), tmp_path, resume=True)
    assert train.train(plain, tmp_path, resume=True)["epochs"] == plain.epochs


def test_a_broken_state_is_an_artifact_error(plain: Recipe, tmp_path: Path) -> None:
    (tmp_path / STATE).write_bytes(b"not a state")
    with pytest.raises(ArtifactError, match="cannot be resumed"):
        train.train(plain, tmp_path, resume=True)


@pytest.fixture(scope="module")
def interrupted(plain: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was interrupted after its first state."""
    out = tmp_path_factory.mktemp("interrupted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "save_state", interrupt_after(1))
        with pytest.raises(KeyboardInterrupt):
            train.train(plain, out)
    return out


@pytest.mark.default_cases("change0")
@pytest.mark.parametrize(
    "change",
    [
        {"model": {}},
        {"optimiser": {"state": {}}},
        {"random": None},
        {"random": {"cpu": [torch.zeros(3)]}},
        {"counters": "[]"},
        {"ema": 3},
    ],
)
def test_a_state_of_other_parts_is_an_artifact_error(
    change: dict[str, object], plain: Recipe, interrupted: Path, tmp_path: Path
) -> None:
    shutil.copytree(interrupted, tmp_path, dirs_exist_ok=True)
    state = torch.load(tmp_path / STATE, weights_only=True)  # noqa: TID251
    torch.save({**state, **change}, tmp_path / STATE)
    with pytest.raises(ArtifactError, match="cannot be resumed"):
        train.train(plain, tmp_path, resume=True)


def test_a_teacher_of_other_classes_is_refused(recipe: Recipe, data: Path, tmp_path: Path) -> None:
    model = build("n", 3)
    native.save(tmp_path / "t", model, model_spec(model, ("a", "b", "c"), INPUT_HW), {})
    with pytest.raises(DataError, match=r"has 3 classes \(a, b, c\); the data has 2 \(red, green\)"):
        train.train(replace(recipe, teacher=str(tmp_path / "t")), tmp_path / "run")


def test_a_teacher_with_other_anchors_is_refused(recipe: Recipe, tmp_path: Path) -> None:
    anchors = tuple(tuple((float(w), 9.0 * w) for w in (1, 2, 3)) for _ in range(3))
    model = build("n", 2, anchors)
    native.save(tmp_path / "t", model, model_spec(model, CLASSES, INPUT_HW), {})
    with pytest.raises(UsageError, match="anchors that differ from the student's"):
        train.train(replace(recipe, teacher=str(tmp_path / "t")), tmp_path / "run")


def test_a_missing_teacher_is_a_usage_error(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no weights at"):
        train.train(replace(recipe, teacher=str(tmp_path / "none")), tmp_path / "run")


def test_a_teacher_is_really_loaded(recipe: Recipe, teacher: Path) -> None:
    model, _, _ = native.load(teacher)
    frozen = load_teacher(str(teacher))
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        pairs = zip(model(images), frozen.model(images).raw, strict=True)
        assert all(torch.allclose(a, b, atol=1e-4) for a, b in pairs)
    assert not any(p.requires_grad for p in frozen.model.parameters())


def test_initial_weights_with_other_classes_keep_all_but_the_head(
    plain: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = build("n", 3)
    native.save(tmp_path / "w", model, model_spec(model, ("a", "b", "c"), INPUT_HW), {})
    started = build_run(
        replace(plain, student=replace(plain.student, init=str(tmp_path / "w"))), tmp_path, CLASSES
    )
    given, taken = model.state_dict(), started.model.state_dict()
    assert all(torch.equal(given[n], taken[n]) for n in given if not n.startswith("model.24."))
    assert "model.24.m" in capsys.readouterr().err


def test_initial_weights_of_another_architecture_are_refused(plain: Recipe, tmp_path: Path) -> None:
    model = build("m", 2)
    native.save(tmp_path / "w", model, model_spec(model, CLASSES, INPUT_HW), {})
    with pytest.raises(UsageError, match="are of yolov5m"):
        build_run(replace(plain, student=replace(plain.student, init=str(tmp_path / "w"))), tmp_path, CLASSES)


@pytest.mark.slow
def test_a_new_head_on_a_frozen_body_trains_the_head_alone(recipe: Recipe, tmp_path: Path) -> None:
    """The body keeps its weights and its batch norms; the head starts anew and moves; the start is kept."""
    n = build("n", len(CLASSES))
    native.save(tmp_path / "w", n, model_spec(n, CLASSES, INPUT_HW), {})
    begun = replace(recipe.student, init=str(tmp_path / "w"), reset_head=True, freeze_body=True)
    short = replace(recipe, student=begun, epochs=1, eval_every=1)
    result = train.train(short, tmp_path / "run")
    source, first, best = (
        native.load(path)[0].state_dict()
        for path in (tmp_path / "w", tmp_path / "run" / "begin", Path(result["best"]))
    )
    head = {name for name in source if name.startswith("model.24.m")}
    for name in source.keys() - head:
        assert torch.equal(source[name], first[name]), name
        assert torch.equal(source[name], best[name]), name
    weights = {name for name in head if name.endswith("weight")}
    assert all(not torch.equal(source[name], first[name]) for name in weights)
    assert all(not torch.equal(first[name], best[name]) for name in weights)


def test_a_frozen_body_stays_in_evaluation_mode() -> None:
    model = build("n", 2)
    model.freeze_body()
    model.train()
    assert model.head.training
    assert not any(m.training for layer in model.model[:-1] for m in layer.modules())
    assert {n.split(".")[1] for n, p in model.named_parameters() if p.requires_grad} == {"24"}


def test_a_parameter_without_gradient_keeps_its_place_in_the_optimiser(plain: Recipe) -> None:
    """A saved state has every parameter; those of a quantised student that are not learnt are among them."""
    model = build("n", 2)
    model.freeze_body()
    optimiser = make_optimiser(model, nn.ModuleDict(), plain.optimiser)
    assert sum(len(group["params"]) for group in optimiser.param_groups) == len(list(model.parameters()))


def test_a_frozen_body_without_weights_is_refused(plain: Recipe) -> None:
    with pytest.raises(UsageError, match=r"student\.freeze_body without student\.init"):
        replace(plain.student, init="", freeze_body=True)


def test_quantisation_trains_all_layers(plain: Recipe) -> None:
    frozen = replace(plain.student, init="student", freeze_body=True)
    with pytest.raises(UsageError, match="which trains all layers"):
        replace(plain, student=frozen, quantisation=replace(plain.quantisation, family="onnx"))


@pytest.mark.slow
def test_unlabelled_images_change_what_is_learnt_and_are_counted(recipe: Recipe, tmp_path: Path) -> None:
    short = replace(recipe, epochs=1, eval_every=1)
    frames = tmp_path / "frames"
    frames.mkdir()
    for i in range(4):
        noise = np.random.default_rng(i).integers(0, 255, (90, 160, 3), np.uint8)
        cv2.imwrite(str(frames / f"{i}.png"), noise)
    result = train.train(replace(short, unlabelled=(str(frames),)), tmp_path / "more")
    alone = train.train(short, tmp_path / "less")
    assert result["images"] == {**alone["images"], "unlabelled": 4}
    assert losses(tmp_path / "more") != losses(tmp_path / "less")
