"""Studies as files: which cells they ask for, in which order, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import pytest

from distill.study.grid import Cell, by_student_and_teacher
from distill.study.study_file import load_study, select, study_names
from edgestill.errors import UsageError

BASE = """
recipe = "traffic-lights"
seeds = [0, 1]
arms = ["none", "random-teacher", "fgfi", "default"]
"""


def cells_of(tmp_path: Path, text: str, *settings: str) -> list[Cell]:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    return load_study(str(file), settings, ["d.yaml"])[2]


@pytest.mark.parametrize("name", study_names())
def test_every_shipped_study_loads_and_says_what_it_is(name: str) -> None:
    _, study, cells = load_study(name, data=["d.yaml"])
    assert {cell.arm.partition(" ")[0] for cell in cells} == set(study.arms)
    assert len({cell.folder for cell in cells}) == len(cells)
    assert "none" in study.arms
    assert all(cell.recipe.patience == 0 for cell in cells)  # equal epochs


def test_the_street_study_has_the_arms_that_a_claim_needs() -> None:
    _, study, _ = load_study("street", data=["d.yaml"])
    assert {"none", "random-teacher", "score_l2", "fgfi", "region", "integrated", "mkd", "default"} <= set(
        study.arms
    )
    assert len(study.seeds) >= 3


@pytest.mark.parametrize(
    "setting",
    [
        'sweep."methods.fgfi.psi"=[0.25, 0.75]',
        "sweep.'methods.fgfi.psi'=[0.25, 0.75]",
        "sweep.methods.fgfi.psi=[0.25, 0.75]",
        'sweep={"methods.fgfi.psi"=[0.25, 0.75]}',
        "sweep={methods={fgfi={psi=[0.25, 0.75]}}}",
    ],
)
def test_a_sweep_is_set_on_the_command_line_with_quotes_or_without(tmp_path: Path, setting: str) -> None:
    for text in (BASE, BASE + '[sweep]\n"methods.fgfi.psi" = [0.5]\n'):  # an earlier one is replaced
        cells = cells_of(tmp_path, text, "arms=['fgfi']", "seeds=[0]", setting)
        assert [cell.arm for cell in cells] == ["fgfi psi=0.25", "fgfi psi=0.75"]
        assert [cell.recipe.methods["fgfi"].config.psi for cell in cells] == [0.25, 0.75]


def test_a_key_of_the_study_may_be_in_quotes_too(tmp_path: Path) -> None:
    cells = cells_of(tmp_path, BASE, '"seeds"=[7]', 'arms=["default"]', 'teachers."v6.1"=runs/a')
    assert [(cell.seed, cell.teacher, cell.recipe.teacher) for cell in cells] == [(7, "v6.1", "runs/a")]


def test_seeds_come_round_by_round(tmp_path: Path) -> None:
    cells = cells_of(tmp_path, BASE)
    assert [(c.seed, c.arm) for c in cells] == [
        (seed, arm) for seed in (0, 1) for arm in ("none", "random-teacher", "fgfi", "default")
    ]


def test_the_controls_change_what_they_say_and_nothing_else(tmp_path: Path) -> None:
    cells = {cell.arm: cell.recipe.to_json() for cell in cells_of(tmp_path, BASE) if cell.seed == 0}
    default = cells["default"]
    assert default["methods"].keys() == {"logits"}
    for arm, key, value in (("none", "methods", {}), ("random-teacher", "teaching", "random")):
        assert cells[arm] == {**default, "name": arm, key: value}
    assert cells["fgfi"]["methods"].keys() == {"fgfi"}


def test_an_arm_replaces_the_methods_and_merges_the_rest(tmp_path: Path) -> None:
    text = BASE.replace('"fgfi"', '"mine"') + "[arm.mine]\nmethods.cwd.weight = 5.0\noptimiser.lr = 0.5\n"
    mine = next(cell.recipe for cell in cells_of(tmp_path, text) if cell.arm == "mine")
    assert list(mine.methods) == ["cwd"]
    assert mine.methods["cwd"].config.weight == 5.0
    assert (mine.optimiser.lr, mine.optimiser.kind) == (0.5, "adamw")


def test_a_setting_goes_to_the_study_or_to_every_recipe(tmp_path: Path) -> None:
    cells = cells_of(
        tmp_path, BASE, "epochs=3", "seeds=[7]", "teacher=runs/a/best", "arms=['none','default']"
    )
    assert [(c.seed, c.recipe.epochs, c.recipe.teacher) for c in cells] == [(7, 3, "runs/a/best")] * 2
    assert [str(c.folder) for c in cells] == [
        "cells/none/yolov5n/seed-7",
        "cells/default/yolov5n-from-a/seed-7",
    ]


def test_an_arm_without_a_teacher_is_trained_once_for_all_of_them(tmp_path: Path) -> None:
    text = (
        BASE
        + '[teachers]\na = "A"\nb = "B"\n[students]\nn = "yolov5n"\ns = {model = "yolov5s", init = "x"}\n'
    )
    cells = [cell for cell in cells_of(tmp_path, text) if cell.seed == 0 and cell.arm in {"none", "fgfi"}]
    assert [(c.student, c.teacher, c.arm) for c in cells] == [
        ("n", "-", "none"),
        ("n", "a", "fgfi"),
        ("n", "b", "fgfi"),
        ("s", "-", "none"),
        ("s", "a", "fgfi"),
        ("s", "b", "fgfi"),
    ]
    assert [c.recipe.student.model for c in cells] == ["yolov5n"] * 3 + ["yolov5s"] * 3
    groups = {key: [c.arm for c in group] for key, group in by_student_and_teacher(cells)}
    assert groups == {pair: ["none", "fgfi"] for pair in (("n", "a"), ("n", "b"), ("s", "a"), ("s", "b"))}


def test_a_sweep_concerns_the_arms_that_have_its_method(tmp_path: Path) -> None:
    text = BASE + '[sweep]\n"methods.fgfi.psi" = [0.25, 0.5]\n"methods.logits.weight" = [1, 2]\n'
    cells = cells_of(tmp_path, text.replace("[0, 1]", "[0]", 1))
    assert [cell.arm for cell in cells] == [
        "none",
        "random-teacher weight=1",
        "random-teacher weight=2",
        "fgfi psi=0.25",
        "fgfi psi=0.5",
        "default weight=1",
        "default weight=2",
    ]
    assert [c.recipe.methods["fgfi"].config.psi for c in select(cells, ["fgfi"])] == [0.25, 0.5]
    assert list(select(cells, ["default weight=2"])[0].recipe.methods) == ["logits"]


def test_a_swept_list_of_equal_values_is_named_by_one(tmp_path: Path) -> None:
    text = 'recipe = "traffic-lights"\narms = ["none", "region"]\n[sweep]\n"methods.region.temperature" = '
    arms = {cell.arm for cell in cells_of(tmp_path, text + "[[25.0, 25.0], [25.0, 45.0]]\n")}
    assert arms == {"none", "region temperature=25", "region temperature=25-45"}


def test_a_recipe_may_stand_in_the_study(tmp_path: Path) -> None:
    text = 'arms = ["none", "cwd"]\n[recipe]\nepochs = 2\nteacher = "teacher"\n'
    assert {cell.recipe.epochs for cell in cells_of(tmp_path, text)} == {2}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(("[0, 1]", "[0, 0]"), "seeds", id="twice"),
        pytest.param(("[0, 1]", "[]"), "seeds", id="no-seed"),
        pytest.param(('"fgfi"', '"fgfy"'), "no arm is called 'fgfy'", id="unknown-arm"),
        pytest.param(("recipe =", "recipes ="), "'recipes'", id="unknown-key"),
        pytest.param(('"traffic-lights"', '"no-such"'), "no recipe is called", id="unknown-recipe"),
        pytest.param(
            ('"traffic-lights"', '"traffic-lights-teacher"'), "the recipe has none", id="no-methods"
        ),
        pytest.param(("[0, 1]", "[0]\n[arm.none]\nepochs = 1"), "arm.none", id="fixed-arm"),
        pytest.param(("[0, 1]", '[0]\nagainst = ["cwb"]'), "'cwb'", id="against"),
        pytest.param(("[0, 1]", "[0]\n[sweep]\nepochs = 3"), "sweep.epochs", id="sweep"),
        pytest.param(
            ("[0, 1]", "[0]\n[sweep]\nmethods.fgfy.psi = [1]"), "did you mean 'fgfi'?", id="sweep-method"
        ),
        pytest.param(("[0, 1]", "[0]\nteachers = 3"), "teachers = 3", id="no-table"),
        pytest.param(("[0, 1]", '[0]\n[teachers]\n"../x" = "y"'), "'../x'", id="name"),
        pytest.param(("[0, 1]", "[0]\neffect = 0.0"), "effect = 0.0 in the study", id="effect"),
    ],
)
def test_what_would_mislead_is_refused(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    line, _, table = change[1].partition("\n[")
    text = BASE.replace(change[0], line) + (f"[{table}\n" if table else "")
    with pytest.raises(UsageError) as error:
        cells_of(tmp_path, text)
    assert message in str(error.value)


def test_what_is_compared_with_must_be_an_arm_of_the_study(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(BASE + 'against = ["none", "score_l2"]\n')
    assert load_study(str(file))[1].against == ("none",)  # a shipped study with fewer arms still runs
    assert load_study(str(file), against=["fgfi"])[1].against == ("none", "fgfi")
    with pytest.raises(UsageError, match="no arm of this study is called 'score_l2'"):
        load_study(str(file), against=["score_l2"])


def test_unknown_arms_cannot_be_selected(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no arm is called 'mdk'"):
        select(cells_of(tmp_path, BASE), ["mdk"])
