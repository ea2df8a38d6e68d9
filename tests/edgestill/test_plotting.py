"""One style for all plots, and what happens without matplotlib."""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib
import pytest

from edgestill.installation import pip_command
from edgestill.plotting import COLOURS, DASHES, Palette, figure, image_figure, line_style, optional_plots


def test_the_style_ends_with_the_figure() -> None:
    before = matplotlib.rcParams["text.color"]
    with figure((2, 2), {"font.size": 5}, palette=Palette(ink="#010203")):
        assert matplotlib.rcParams["text.color"] == "#010203"
        assert matplotlib.rcParams["font.size"] == 5
    assert matplotlib.rcParams["text.color"] == before


def test_equal_figures_make_equal_files(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        with image_figure(tmp_path / name, (2, 2)) as drawn:
            drawn.subplots().plot([1, 2, 3], **line_style(0))
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_figure_that_fails_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), image_figure(tmp_path / "a.png", (2, 2)):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_no_two_lines_look_alike_before_all_styles_are_used() -> None:
    count = len(COLOURS) * len(DASHES)
    assert len({tuple(line_style(k).items()) for k in range(count)}) == count
    assert line_style(count) == line_style(0)


def test_without_matplotlib_plots_are_left_out_and_it_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with optional_plots("plots"):
        raise ModuleNotFoundError("no", name="matplotlib")
    said = f"no plots: matplotlib is not installed ({pip_command('report')})\n"
    assert capsys.readouterr().err == said


def test_a_matplotlib_that_cannot_be_imported_ruins_no_finished_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "matplotlib").mkdir()
    (tmp_path / "matplotlib" / "__init__.py").write_text("raise ImportError('made for another NumPy')")
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    with optional_plots("plots"), image_figure(tmp_path / "a.png", (2, 2)):
        pass
    assert "no plots: matplotlib cannot be imported: made for another NumPy" in capsys.readouterr().err
    assert not (tmp_path / "a.png").exists()


def test_another_missing_library_is_not_passed_over() -> None:
    with pytest.raises(ModuleNotFoundError), optional_plots("plots"):
        raise ModuleNotFoundError("no", name="torch")
