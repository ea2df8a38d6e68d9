"""Training with rounding, from the recipe to the exported file."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distill.qat.checkpoint import load
from distill.qat.network import QuantizedYolov5
from distill.recipe_toml import load_recipe
from distill.train import train
from distill.training.run_folder import HISTORY
from edgestill.checkpoint import Checkpoint, read_checkpoint
from edgestill.cli.options.qat import quantise_for_qat
from edgestill.errors import ArtifactError, UsageError
from edgestill.files import sha256_file
from edgestill.history import read_history, without_timing

SCRIPT = Path(__file__).parent.parent / "scripts" / "killed.py"


@pytest.fixture(scope="module")
def settings(teacher: Path) -> list[str]:
    return [
        f"student.init={teacher}",
        "input_hw=[64, 96]",
        "train_hw=[64, 64]",
        "epochs=2",
        "optimiser.lr=0.001",
        *("loss.box=0.05", "loss.cls=1", "loss.obj=2"),  # from its own answers a fresh network learns nothing
        "batch=4",
        "threads=1",
        "device=cpu",
        "precision=fp32",
        "save_every_steps=1",
        "quantisation.calib_images=2",
    ]


@pytest.fixture(scope="module")
def whole(
    undrawn_module: None, settings: list[str], data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Any:
    """A run that nothing disturbed: its folder and its result."""
    out = tmp_path_factory.mktemp("qat") / "run"
    recipe = load_recipe("traffic-lights-qat", settings, [str(data)])
    return out, train(recipe, out, calibrate=quantise_for_qat)


def test_the_student_learns_from_itself_before_rounding(whole: Any, teacher: Path) -> None:
    out, result = whole
    assert result["teacher"]["path"] == str(teacher)
    assert set(result["before"]) == {"map50", "map50_95", "per_class"}
    assert {"logits_cls", "logits_box", "logits_obj"} <= read_history(out / HISTORY)[0].keys()


def test_scales_begin_with_a_calibration_and_are_learnt(whole: Any) -> None:
    out, _ = whole
    first, last = (read_checkpoint(out / name).scheme for name in ("begin", "last"))
    assert first is not None
    assert last is not None
    assert last.family == "tensorrt"
    moved = [name for name, grid in first.quant_params.items() if grid.scale != last.quant_params[name].scale]
    assert len(moved) > 10  # maps of a network that has learnt nothing fade with depth, and gradients too
    assert all(abs(last.quant_params[n].scale / first.quant_params[n].scale - 1) < 0.2 for n in moved)
    assert any((first.weights[n] != last.weights[n]).any() for n in first.weights)
    assert (first.activations, first.reads) == (last.activations, last.reads)


def test_weights_are_stored_as_the_numbers_of_their_bytes(whole: Any) -> None:
    """And FP16 storage leaves the bytes as they are."""
    stored = read_checkpoint(whole[0] / "best")
    assert stored.scheme is not None
    for name, steps in stored.scheme.weights.items():
        weight = stored.weights[f"{name}.weight"]
        for kept in (weight, weight.astype(np.float16).astype(np.float32)):
            level = kept / steps.reshape(-1, 1, 1, 1)
            assert np.abs(level - np.rint(weight / steps.reshape(-1, 1, 1, 1))).max() < 0.1


@pytest.mark.slow
def test_a_run_that_is_killed_and_resumed_ends_with_the_same_weights_and_scales(
    whole: Any, settings: list[str], data: Path, tmp_path: Path, forked: Callable[..., Any]
) -> None:
    broken = tmp_path / "broken"
    words = ["distill", "traffic-lights-qat", "--data", str(data), "--out", str(broken), "--resume"]
    flags = [word for setting in settings for word in ("--set", setting)]
    for at, code in ((["step", "2"], -signal.SIGKILL), (["nowhere", "0"], 0)):
        (done,) = forked(SCRIPT, *at, *words, *flags)
        assert done.returncode == code, done.stderr
    histories = [[without_timing(row) for row in read_history(out / HISTORY)] for out in (whole[0], broken)]
    assert histories[0] == histories[1]
    weights = "last/model.safetensors"  # the scales are in it
    assert sha256_file(whole[0] / weights) == sha256_file(broken / weights)


def test_a_checkpoint_is_loaded_as_it_was_trained_or_without_its_roundings(whole: Any) -> None:
    from distill.checkpoints.native import load as load_plain

    assert isinstance(load(whole[0] / "best")[0], QuantizedYolov5)
    assert not isinstance(load_plain(whole[0] / "best")[0], QuantizedYolov5)


def test_who_trains_with_rounding_must_say_where(settings: list[str], data: Path, tmp_path: Path) -> None:
    recipe = load_recipe("traffic-lights-qat", settings, [str(data)])
    with pytest.raises(UsageError, match="starts from calibrated scales"):
        train(recipe, tmp_path / "run")
    with pytest.raises(UsageError, match="quantises a student with random weights"):
        load_recipe("traffic-lights-qat", ["student.init="], [str(data)])


def test_shared_towers_are_refused(student: Any) -> None:
    from distill.models.yolov5 import build

    shared = build("n", 2, head="decoupled", share_levels=True)
    with pytest.raises(UsageError, match="towers shared by all levels"):
        QuantizedYolov5(shared, student.begin("tensorrt").scheme)


def test_broken_scales_are_told(whole: Any, tmp_path: Path) -> None:
    from dataclasses import replace

    from edgestill.checkpoint import write_checkpoint

    good = read_checkpoint(whole[0] / "best")
    assert good.scheme is not None
    grids = dict(good.scheme.quant_params)
    grids.popitem()
    without = replace(good.scheme, quant_params=grids)
    write_checkpoint(tmp_path, Checkpoint(spec=good.spec, weights=good.weights, scheme=without))
    with pytest.raises(ArtifactError, match="scales are invalid"):
        read_checkpoint(tmp_path)
