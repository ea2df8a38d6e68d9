"""Recipes: what they may hold, how they are changed, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from distill.recipe_toml import FOLDER, load_recipe, recipe_names, split_setting
from edgestill.errors import UsageError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text('epochs = 3\nteacher = "t"\n[student]\nmodel = "yolov5s"\n[methods.cwd]\nweight = 2\n')
    return path


@pytest.mark.parametrize("name", recipe_names())
def test_a_shipped_recipe_loads(name: str) -> None:
    assert load_recipe(name).name == name


@pytest.mark.parametrize("name", recipe_names())
def test_a_shipped_recipe_says_what_it_is_for(name: str) -> None:
    assert (FOLDER / f"{name}.toml").read_text("utf-8").startswith("# ")


def test_a_recipe_keeps_what_its_file_says(file: Path) -> None:
    recipe = load_recipe(str(file))
    assert (recipe.epochs, recipe.student.model, recipe.methods["cwd"].config.weight) == (3, "yolov5s", 2.0)


def test_keys_that_are_left_out_have_defaults(file: Path) -> None:
    assert load_recipe(str(file)).input_hw == (384, 640)


@pytest.mark.parametrize(
    ("setting", "path", "wanted"),
    [
        pytest.param("epochs=7", "epochs", 7, id="whole-number"),
        pytest.param("optimiser.lr=1", "optimiser.lr", 1.0, id="whole-number-for-a-fraction"),
        pytest.param("train_hw=[320, 64]", "train_hw", (320, 64), id="list"),
        pytest.param("student.init=runs/x/best", "student.init", "runs/x/best", id="bare-text"),
        pytest.param("methods.cwd.normalise=false", "methods.cwd.config.normalise", False, id="truth"),
        pytest.param(
            "methods.cwd.course=cosine", "methods.cwd.course", "cosine", id="shared-key-of-a-method"
        ),
        pytest.param("methods.logits={}", "methods.logits.config.weight", 1.0, id="another-method"),
        pytest.param("methods={}", "methods", {}, id="no-methods"),
        pytest.param("data=a/data.yaml", "data", ("a/data.yaml",), id="one-data-set"),
    ],
)
def test_a_setting_changes_a_key(file: Path, setting: str, path: str, wanted: object) -> None:
    value: object = load_recipe(str(file), [setting])
    for part in path.split("."):
        value = value[part] if isinstance(value, dict) else getattr(value, part)
    assert value == wanted


def test_data_on_the_command_line_replaces_the_recipes(file: Path) -> None:
    assert load_recipe(str(file), ["data=old"], ["a", "b"]).data == ("a", "b")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        pytest.param("epoch=3", r"no recipe key is called 'epoch'\n  hint: did you mean 'epochs'", id="key"),
        pytest.param(
            "augment.mosaik=1", r"\[augment\] is called 'mosaik'.*\n.*'mosaic'", id="key-of-a-table"
        ),
        pytest.param("methods.cdw={}", r"method is called 'cdw'\n  hint: did you mean 'cwd'", id="method"),
        pytest.param("methods.cwd.normalize=true", r"'normalize'\n.*'normalise'", id="key-of-a-method"),
        pytest.param("epochs=two", r"epochs = 'two'\n  hint: epochs is a whole number", id="text-for-number"),
        pytest.param("epochs=2.5", r"epochs = 2.5\n", id="fraction-for-whole-number"),
        pytest.param("epochs=true", r"epochs = True\n", id="truth-for-number"),
        pytest.param("epochs=0", r"epochs = 0 in recipe mine", id="no-epochs"),
        pytest.param("precision=int8", r"precision is auto or fp32 or bf16 or fp16", id="choice"),
        pytest.param("train_hw=[320]", r"train_hw is a list of 2", id="length"),
        pytest.param("train_hw=[320, 300]", r"steps of 32", id="size"),
        pytest.param("augment.zoom=[2.0, 1.0]", r"augment.zoom = \[2.0, 1.0\]", id="order"),
        pytest.param("augment.flip=1.5", r"augment.flip = 1.5", id="probability"),
        pytest.param("augment.hue=-0.5", r"augment.hue = -0.5", id="hue"),
        pytest.param("augment.saturation=1e308", r"augment.saturation = 1e\+308", id="saturation"),
        pytest.param("augment.value=-1", r"augment.value = -1", id="brightness"),
        pytest.param("augment.paste.share=2", r"augment.paste.share = 2", id="pasting"),
        pytest.param("augment.camera.glare=-0.1", r"augment.camera.glare = -0.1", id="glare"),
        pytest.param("repeat.cinta=0", r"repeat.cinta = 0 in recipe mine", id="repeated-never"),
        pytest.param("repeat.cinta=1.5", r"repeat.cinta = 1.5", id="repeated-in-part"),
        pytest.param("leave_out=[1]", r"leave_out\[0\] = 1", id="number-for-source"),
        pytest.param("student=3", r"student is a table", id="number-for-table"),
        pytest.param("epochs.more=3", r"epochs is not a table", id="dots-into-a-number"),
        pytest.param("epochs", "--set epochs is not key=value", id="no-value"),
        pytest.param('"epochs=3', '--set "epochs=3 is not key=value', id="open-quote"),
        pytest.param("methods..cwd=3", "is not key=value", id="empty-name"),
        pytest.param(
            '"methods.cwd.weight"=3',
            r"no recipe key is called 'methods.cwd.weight': dots within .*\n.*without quotes",
            id="dots-in-quotes",
        ),
        pytest.param("methods={cwd={weight=2}", r"--set methods=\{cwd.* is not TOML", id="open-table"),
        pytest.param("data=['a.yaml'", r"--set data=.* is not TOML.*\n.*single quotes", id="open-list"),
        pytest.param("epochs=3\nbatch=2", r"epochs = '3\\nbatch=2'\n", id="two-lines"),
        pytest.param("teacher=", "has the methods cwd and no teacher", id="no-teacher"),
        pytest.param("loss.balance=[1.0]", r"loss.balance", id="levels"),
        pytest.param('name="x"', r"name = 'x' in recipe mine", id="name"),
    ],
)
def test_a_wrong_setting_is_refused(file: Path, setting: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_recipe(str(file), [setting])


@pytest.mark.parametrize(
    "setting",
    [
        'methods."cwd".weight=7',
        "methods.'cwd'.weight=7",
        'methods . "cwd" . weight = 7',
        '"methods"."cwd".weight=7',
    ],
)
def test_names_of_a_key_may_be_in_quotes(file: Path, setting: str) -> None:
    assert load_recipe(str(file), [setting]).methods["cwd"].config.weight == 7.0


def test_a_name_in_quotes_may_hold_dots_and_an_equals_sign() -> None:
    assert split_setting("""teachers."v6.1=a".'x' = runs/a=b""") == (["teachers", "v6.1=a", "x"], "runs/a=b")


def test_an_unknown_recipe_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'traffic-lights'"):
        load_recipe("trafic-lights")


def test_a_missing_file_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        load_recipe(str(tmp_path / "none.toml"))


def test_a_broken_file_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "broken.toml").write_text("epochs = = 3")
    with pytest.raises(UsageError, match="not a TOML file"):
        load_recipe(str(tmp_path / "broken.toml"))


@pytest.mark.parametrize(
    "setting",
    [
        *(
            "optimiser.lr=nan",
            "optimiser.lr=-1",
            "optimiser.lr=inf",
            "optimiser.lr=1e300",
            "optimiser.momentum=1",
        ),
        *(
            "optimiser.ema_steps=0",
            "optimiser.clip=-1",
            "seed=-1",
            "threads=-2",
            "patience=-1",
            "cache_mib=-5",
        ),
        *("epochs=99999999999999999999", f"batch={'9' * 5000}", "loss.box=nan", 'student.init="a\\u0000b"'),
    ],
)
def test_a_number_of_no_meaning_is_a_usage_error(setting: str) -> None:
    with pytest.raises(UsageError, match=setting.partition("=")[0]):
        load_recipe("traffic-lights-teacher", [setting])


@pytest.mark.parametrize("text", ["x = " + "[" * 100_000, f"epochs = {'9' * 5000}"])
def test_a_file_that_breaks_the_parser_is_a_usage_error(text: str, tmp_path: Path) -> None:
    (tmp_path / "odd.toml").write_text(text)
    with pytest.raises(UsageError, match="not a TOML file"):
        load_recipe(str(tmp_path / "odd.toml"))


def test_a_recipe_can_be_kept_as_json(file: Path) -> None:
    assert (
        json.loads(json.dumps(load_recipe(str(file)).to_json()))["methods"]["cwd"]["config"]["weight"] == 2.0
    )


def test_unlabelled_images_take_a_teacher(file: Path) -> None:
    assert load_recipe(str(file), ["unlabelled=frames"]).unlabelled == ("frames",)
    with pytest.raises(
        UsageError, match="unlabelled images, which need a distillation method, and no method"
    ):
        load_recipe(str(file), ["unlabelled=frames", "methods={}", "teacher="])
