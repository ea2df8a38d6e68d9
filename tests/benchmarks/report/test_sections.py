"""A page is made from any mix of results, holds what they say, and loads nothing from outside."""

from __future__ import annotations

import html
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from benchmarks.report import plots
from benchmarks.report.latency_section import latency_section
from benchmarks.report.page import (
    Card,
    Commands,
    Details,
    Heading,
    Picture,
    Pictures,
    Plot,
    Prose,
    Section,
    Table,
    _templates,
    format_cell,
    write_report,
)
from benchmarks.report.sections import build_page, build_sections, headline_cards, kind_of
from edgestill.drawing.palette import plot_colours
from edgestill.errors import DataError, DeviceError, UsageError
from edgestill.installation import pip_command

SCORE = {"ap50": 0.8, "ap50_95": 0.5, "labels": 10}
NOTHING = {"ap50": None, "ap50_95": None, "labels": 0}


def bench_model(name: str, ms: float) -> dict[str, Any]:
    return {
        "name": name,
        "file": f"{name}",
        "backend": "ort",
        "precision_proved": {"float32": 60},
        "samples": 3,
        "p50_ms": ms + 3,
        "p90_ms": None,
        "p99_ms": None,
        "stages_ms": {"decode": 1.0, "letterbox": 1.0, "inference": ms, "postprocess": 1.0},
        "throughput_fps": 1e3 / (ms + 3),
        "cold_start_ms": None,
        "rss_mib": None,
        "samples_ms": {
            s: [v] * 3 for s, v in (("decode", 1), ("letterbox", 1), ("inference", ms), ("postprocess", 1))
        },
        "environment": {"machine": {"title": "box <1>"}, "threads": 2},
        "doubts": ["a noisy machine", f"about {name}"],
    }


def bench_result() -> dict[str, Any]:
    ratio = {
        "a": "a.onnx",
        "b": "b.onnx",
        "measure": "inference",
        "a_ms": 20.0,
        "b_ms": 10.0,
        "ratio": 0.5,
        "low": 0.49,
        "high": 0.52,
        "verdict": "faster",
    }
    return {
        "kind": "bench",
        "scenario": "single",
        "measures": "one picture at a time",
        "interleaved": True,
        "footage": {"source": "street.mp4", "frames": 9},
        "warmup_s": 1.0,
        "models": [bench_model("a.onnx", 20.0), bench_model("b.onnx", 10.0)],
        "ratios": [ratio],
        "command": "edgestill bench a.onnx b.onnx --interleave",
    }


def test_energy_clocks_and_throttling_are_in_the_section_of_a_bench() -> None:
    result = bench_result()
    figure = {"before": 40.0, "min": 40.0, "median": 41.0, "mean": 41.0, "max": 55.0, "after": 50.0}
    monitors = {"throttled": True, "throttle_reasons": ["gpu: hardware slowdown"]}
    monitors |= {"clocks_mhz": {}, "temperatures_c": {"tj": figure}}
    energy = {"meter": "INA3221 VDD_IN", "covers": "the whole Jetson module", "idle_s": 3.0}
    energy |= {"mean_mw": 9000.0, "idle_mw": 4000.0, "idle_sd_mw": 50.0}
    measured, other = result["models"]
    measured |= {"energy_mj": 212.5, "energy": energy}
    other |= {"energy_mj": None, "energy": None, "energy_reason": "the sensor was lost"}
    for model in result["models"]:
        model["environment"]["monitors"] = monitors
    blocks = latency_section(result).blocks
    (table,) = (block for block in blocks if isinstance(block, Table) and "mJ a frame" in block.columns)
    assert [row[-2:] for row in table.rows] == [[212.5, 9.0], [None, None]]
    text = " ".join(block.text for block in blocks if isinstance(block, Prose))
    assert "tj 40 to 55 C, throttled (gpu: hardware slowdown)" in text
    assert "212.5 mJ a frame over idle" in text
    assert "energy of b.onnx: not measured, because the sensor was lost" in text


def test_a_bench_without_energy_has_no_column_for_it() -> None:
    tables = [block for block in latency_section(bench_result()).blocks if isinstance(block, Table)]
    assert not any("mJ a frame" in table.columns for table in tables)


def eval_result(model: str = "a.onnx", score: float | None = 0.5) -> dict[str, Any]:
    return {
        "kind": "eval",
        "model": model,
        "file": model,
        "backend": "ort",
        "data": "scenes/data.yaml",
        "split": "test",
        "images": 4,
        "labels": 20,
        "map50": score,
        "map50_95": score,
        "per_class": {"red": SCORE, "off": NOTHING},
        "by_size": {"small": SCORE, "large": NOTHING},
        "per_source": {"cam": {"images": 2, "labels": 9, "map50": 0.7, "map50_95": 0.4}},
        "doubts": ["off is rare"],
    }


def distill_result() -> dict[str, Any]:
    return {
        "best": "runs/x/best",
        "history": "runs/x/history.csv",
        "best_epoch": 2,
        "epochs": 3,
        "map50": 0.8,
        "map50_95": 0.5,
        "per_class": {"red": SCORE},
        "recipe": {"name": "traffic-n"},
    }


def verified(**changes: Any) -> dict[str, Any]:
    """What ``export.verify.compare`` says about a file."""
    facts: dict[str, Any] = {
        "images": 9,
        "reference_sure": 12,
        "matched": 11,
        "extra": 1,
        "swapped": {"red -> off": 1},
        "red_green_swaps": 0,
        "score_drift_mean": -0.0123,
        "candidate_map50_95": 0.5,
        "drop_points": 0.25,
        "failures": [],
    }
    return facts | changes


def export_result(**changes: Any) -> dict[str, Any]:
    return {
        "files": ["out/x.onnx", "out/x.onnx.manifest.json"],
        "to": "onnx",
        "precision": "int8",
        "precision_proved": {"executed": {"int8": 57, "float32": 3}},
        "verify": verified(**changes),
    }


def page_of(tmp_path: Path, *results: dict[str, Any], **settings: Any) -> str:
    sections = build_sections([(str(tmp_path / "result.json"), r) for r in results])
    return write_report(sections, tmp_path / "page.html", title="Report", **settings).read_text("utf-8")


def page_with(tmp_path: Path, *sections: Section, **settings: Any) -> str:
    return write_report(sections, tmp_path / "page.html", title="Report", **settings).read_text("utf-8")


class Balance(HTMLParser):
    """Notes tags that are closed in the wrong order, and attributes that a page must not have."""

    VOID = frozenset({"meta", "img", "br", "link", "path", "use"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID and (not self.open or self.open.pop() != tag):
            self.wrong.append(tag)


@pytest.mark.parametrize(
    ("result", "kind"),
    [
        ({"kind": "bench"}, "bench"),
        ({"models": [], "scenario": "single"}, "bench"),
        ({"comparisons": []}, "compare"),
        (distill_result(), "distill"),
        ({"files": [], "precision_proved": {}}, "export"),
        ({"map50": 0.1, "per_class": {}}, "eval"),
        ({"kind": "doctor", "ok": True}, "other"),
    ],
)
def test_a_result_is_known_by_its_kind_or_its_keys(result: dict[str, Any], kind: str) -> None:
    assert kind_of(result) == kind


def test_a_list_is_no_result() -> None:
    with pytest.raises(DataError, match="this is list"):
        kind_of([1])


def test_all_kinds_together_make_one_page(tmp_path: Path) -> None:
    text = page_of(
        tmp_path,
        bench_result(),
        eval_result(),
        distill_result(),
        {"kind": "compare", "comparisons": bench_result()["ratios"]},
        export_result(),
        {"kind": "verify", "candidate": "y.xml", **verified()},
        {"kind": "doctor", "ok": True},
    )
    titles = re.findall(r"<h2>(.*?)</h2>", text)
    wanted = ["Accuracy against latency", "Accuracy", "Latency", "Comparison", "Training: traffic-n"]
    assert titles[:5] == wanted
    assert [t.partition(":")[0] for t in titles[5:]] == [
        "Exported files",
        "Files against their source",
        "Result",
    ]


def test_the_markup_is_balanced(tmp_path: Path) -> None:
    parser = Balance()
    parser.feed(page_of(tmp_path, bench_result(), eval_result(), distill_result()))
    assert (parser.wrong, parser.open) == ([], [])


def test_the_page_loads_nothing_and_runs_nothing(tmp_path: Path) -> None:
    text = page_of(tmp_path, bench_result(), eval_result())
    assert "<script" not in text
    outside = re.findall(r"""(?:src|href)=["'](?!data:|#)([^"']*)""", text)
    assert outside == []
    assert "@import" not in text


def test_what_comes_from_files_is_escaped(tmp_path: Path) -> None:
    text = page_of(tmp_path, bench_result())
    assert "box &lt;1&gt;" in text
    assert "box <1>" not in text


ATTACK = """<script>alert('x')</script>" onload="alert(1)"""


def test_names_with_markup_and_quotes_are_text_wherever_they_stand(tmp_path: Path) -> None:
    bench = bench_result()
    for model in bench["models"]:
        model["name"] = ATTACK
        model["doubts"] = [ATTACK]
    bench |= {"command": ATTACK, "footage": {"source": ATTACK, "frames": 1}}
    picture = Picture(data=b"", mime="image/png", caption=ATTACK)
    blocks = [
        Heading(ATTACK),
        Prose(ATTACK, note=True),
        Table(columns=(ATTACK,), rows=[[ATTACK]], caption=ATTACK, tones={ATTACK: "good"}),
        Plot(svg="<svg></svg>", caption=ATTACK),
        Pictures([picture]),
        Details(summary=ATTACK, blocks=[Prose(ATTACK)]),
    ]
    text = write_report(
        [*build_sections([(ATTACK, bench)]), Section(title=ATTACK, blocks=blocks)],
        tmp_path / "page.html",
        title=ATTACK,
        lead=ATTACK,
        cards=[Card(value=ATTACK, label=ATTACK)],
        footer=ATTACK,
    ).read_text("utf-8")
    page = Balance()
    page.feed(text)
    assert page.text.count(ATTACK) > 20
    assert "script" not in page.tags
    assert "onload" not in page.attributes
    assert (page.wrong, page.open) == ([], [])


def test_a_page_without_jinja2_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    _templates.cache_clear()
    with pytest.raises(DeviceError, match="needs 'jinja2'") as caught:
        page_with(tmp_path, Section(title="T", blocks=[]))
    assert caught.value.hint == pip_command("report")


def test_numbers_verdict_doubts_and_command_stand_on_the_page(tmp_path: Path) -> None:
    text = page_of(tmp_path, bench_result())
    for wanted in (
        "0.490 to 0.520",
        '<span class="good-word">faster</span>',
        "<li>a noisy machine</li>",
        "<li>a.onnx: about a.onnx</li>",
        "edgestill bench a.onnx b.onnx --interleave",
        "60 float32",
    ):
        assert wanted in text


def test_accuracy_meets_latency_only_where_both_are_known() -> None:
    titles = [s.title for s in build_sections([("b", bench_result()), ("e", eval_result("other.onnx"))])]
    assert "Accuracy against latency" not in titles


def test_an_export_tells_its_arithmetic_and_its_distance_to_the_source(tmp_path: Path) -> None:
    text = page_of(tmp_path, export_result())
    for wanted in ("57 int8 3 float32", "11 of 12", "-0.0123", "+0.25", '<span class="good-word">yes</span>'):
        assert wanted in text


def test_what_is_beyond_the_limits_is_said(tmp_path: Path) -> None:
    text = page_of(tmp_path, export_result(failures=["2 lights changed between red and green"]))
    assert '<span class="bad-word">no</span>' in text
    assert "x.onnx: 2 lights changed between red and green" in text


def test_what_could_not_be_told_is_said_and_the_file_is_within(tmp_path: Path) -> None:
    text = page_of(tmp_path, export_result(doubts=["yellow has 4 labels"]))
    assert '<span class="good-word">yes</span>' in text
    assert "x.onnx: yellow has 4 labels" in text


@pytest.mark.parametrize("labels", [None, 0.0])
def test_a_comparison_of_nothing_is_not_within_the_limits(labels: float | None, tmp_path: Path) -> None:
    result = export_result()
    result["verify"] |= {"reference_sure": 0, "matched": 0, "reference_map50_95": labels}
    text = page_of(tmp_path, result)
    assert '<span class="bad-word">nothing compared</span>' in text
    assert '<span class="good-word">yes</span>' not in text


def test_an_export_without_verification_has_no_row_there(tmp_path: Path) -> None:
    text = page_of(tmp_path, export_result() | {"verify": None})
    assert "Exported files" in text
    assert "Files against their source" not in text


def test_several_runs_of_bench_are_told_apart() -> None:
    titles = [s.title for s in build_sections([("one.json", bench_result()), ("two.json", bench_result())])]
    assert titles == ["Latency: one.json", "Latency: two.json"]


def test_a_model_without_any_score_still_makes_a_page(tmp_path: Path) -> None:
    assert "–" in page_of(tmp_path, eval_result(score=None))


def test_history_beside_the_result_is_drawn(tmp_path: Path) -> None:
    (tmp_path / "history.csv").write_text("epoch,box,map50,map50_95\n0,0.3,,\n1,0.2,0.5,0.3\n")
    assert "Loss by part" in page_of(tmp_path, distill_result())


def test_without_its_history_a_training_still_has_its_table(tmp_path: Path) -> None:
    text = page_of(tmp_path, distill_result())
    assert "Loss by part" not in text
    assert "Best epoch 2 of 3" in text


def test_headlines_name_the_fastest_the_best_and_the_gain() -> None:
    cards = headline_cards([bench_result(), eval_result()])
    assert [(c.value, c.tone) for c in cards] == [("10.0 ms", ""), ("50.0", ""), ("0.50 ×", "good")]


def test_pictures_are_part_of_the_page(tmp_path: Path) -> None:
    path = tmp_path / "frame.png"
    cv2.imwrite(str(path), np.zeros((4, 4, 3), np.uint8))
    (section,) = build_sections([], [Picture.read(path)])
    assert 'src="data:image/png;base64,iVBOR' in page_with(tmp_path, section)


@pytest.mark.parametrize("name", ["missing.png", "text.txt"])
def test_what_is_no_picture_is_a_data_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "text.txt").write_text("x")
    with pytest.raises(DataError, match=name):
        Picture.read(tmp_path / name)


def test_a_page_is_not_replaced_unasked(tmp_path: Path) -> None:
    page_of(tmp_path, bench_result())
    with pytest.raises(UsageError, match="exists already"):
        page_of(tmp_path, bench_result())


def test_a_page_is_replaced_when_asked(tmp_path: Path) -> None:
    page_of(tmp_path, bench_result())
    assert "Written by me" in page_of(tmp_path, bench_result(), footer="Written by me", force=True)


def test_a_dollar_sign_in_a_text_is_just_that(tmp_path: Path) -> None:
    section = Section(title="Cost", blocks=[Prose("$title costs $5"), Commands(["echo $HOME"])])
    text = write_report([section], tmp_path / "page.html", title="T", lead="$5").read_text("utf-8")
    assert "$title costs $5" in text
    assert "echo $HOME" in text


def test_cards_stand_above_the_sections(tmp_path: Path) -> None:
    text = page_of(tmp_path, bench_result(), cards=[Card(value="9 ms", label="fast")])
    assert text.index("9 ms") < text.index("<section")


@pytest.mark.parametrize(
    ("cell", "text"),
    [(None, "–"), (3, "3"), (1.2345, "1.23"), (123.45, "123.5"), (12345.6, "12346"), ("x", "x")],
)
def test_cells_are_written_short(cell: Any, text: str) -> None:
    assert format_cell(cell) == text


def test_columns_of_numbers_are_set_right(tmp_path: Path) -> None:
    table = Table(columns=("a", "b"), rows=[["x", 1], ["y", None]])
    html = page_with(tmp_path, Section(title="T", blocks=[table]))
    assert '<th>a</th><th class="number">b</th>' in html


def test_drawings_take_the_colours_of_the_page() -> None:
    svg = plots.stage_bars([("a", {"inference": 5.0})])
    assert "var(--ink)" in svg
    assert "#010203" not in svg


def test_a_drawing_is_the_same_every_time() -> None:
    rows = [("a", [1.0, 2.0, 3.0]), ("b", [2.0, 2.5])]
    assert plots.latency_curves(rows) == plots.latency_curves(rows)


def test_drawings_of_one_page_share_no_ids(tmp_path: Path) -> None:
    other = eval_result() | {"split": "val", "images": 9}
    ids = re.findall(r'\bid="([^"]+)"', page_of(tmp_path, bench_result(), eval_result(), other))
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(
    "name", ["<b>red</b>", "红灯", "🚦", "$x_1$ of $y$", "_background", "[red]", "a|b:c"]
)
def test_a_class_of_any_name_is_written_as_it_is(name: str, tmp_path: Path) -> None:
    result = eval_result() | {"per_class": {name: SCORE, "off": NOTHING}}
    page = page_of(tmp_path, result)
    written = html.escape(name, quote=False)
    texts = re.findall(r">\s*([^<]+?)\s*<", page)
    assert written in texts  # below its bars
    assert "<b>red" not in page


def test_the_classes_of_the_bars_are_marked_in_their_colours() -> None:
    svg = plots.class_bars([("student", {"green": 0.5, "red": 0.4})])
    green, red = (svg.index(f"stroke: {colour}") for colour in plot_colours(["green", "red"]))
    assert green < red


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("bench", {"models": [{}]}),
        ("bench", {"models": None}),
        ("bench", {"ratios": [1]}),
        ("eval", {"per_class": {"red": None}}),
        ("eval", {"per_source": 3}),
        ("eval", {"map50_95": "high"}),
    ],
)
def test_a_result_that_was_changed_is_an_error_that_names_its_file(kind: str, change: dict[str, Any]) -> None:
    good = {"bench": bench_result, "eval": eval_result}
    broken = {**good[kind](), **change}
    results = [("good.json", good["eval"]()), ("broken.json", broken)]
    with pytest.raises(DataError, match=r"broken\.json"):
        build_page(results)


def test_samples_of_unequal_number_are_an_error_that_names_the_file() -> None:
    broken = bench_result()
    stages = broken["models"][0]["samples_ms"]
    stages[next(iter(stages))] = [1.0]
    with pytest.raises(DataError, match=r"x\.json"):
        build_page([("x.json", broken)])
