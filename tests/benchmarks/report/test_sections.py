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
from benchmarks.report.blocks import (
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
    format_cell,
)
from benchmarks.report.latency_section import latency_section, stages_of
from benchmarks.report.page import _templates, write_report
from benchmarks.report.result_kind import kind_of
from benchmarks.report.sections import build_page, build_sections, headline_cards
from edgestill.drawing.palette import plot_colours
from edgestill.errors import DataError, DeviceError, UsageError
from edgestill.installation import pip_command

SCORE = {"ap50": 0.8, "ap50_95": 0.5, "labels": 10}
ENERGY = "energy a frame, over idle\nmillijoules"
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
    (table,) = (block for block in blocks if isinstance(block, Table) and ENERGY in block.columns)
    assert [row[-2:] for row in table.rows] == [[212.5, 9000.0], [None, None]]
    text = " ".join(block.text for block in blocks if isinstance(block, Prose))
    assert "tj 40 to 55 C, throttled (gpu: hardware slowdown)" in text
    assert "212.5 mJ a frame over idle" in text
    assert "energy of b.onnx: not measured, because the sensor was lost" in text


def test_a_bench_without_energy_has_no_column_for_it() -> None:
    tables = [block for block in latency_section(bench_result()).blocks if isinstance(block, Table)]
    assert not any(ENERGY in table.columns for table in tables)


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


def models_of_bench(*names: str) -> dict[str, Any]:
    return bench_result() | {
        "models": [bench_model(name, 10.0 + k) for k, name in enumerate(names)],
        "ratios": [],
    }


@pytest.mark.parametrize(("names", "is_drawn"), [("ab", False), ("abc", True)])
def test_accuracy_over_latency_is_drawn_from_three_models_on(names: str, is_drawn: bool) -> None:
    results = [("b", models_of_bench(*names)), *((f"e{name}", eval_result(name)) for name in names)]
    section = build_sections(results)[0]
    assert section.title == "Accuracy against latency"
    assert any(isinstance(block, Plot) for block in section.blocks) == is_drawn
    (last,) = section.blocks[-1:]
    table = last.blocks[0] if isinstance(last, Details) else last
    assert isinstance(table, Table)
    assert [row[0] for row in table.rows] == list(names)


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


def test_confusions_and_predictions_of_a_training_are_shown(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "predictions.jpg"), np.zeros((4, 4, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "confusion.png"), np.zeros((4, 4, 3), np.uint8))
    pictures = {name: f"gone/{name}.{kind}" for name, kind in (("predictions", "jpg"), ("confusion", "png"))}
    taken_for = {"red": {"red": 7, "off": 1, "missed": 2}, "off": {"red": 0, "off": 0, "missed": 0}}
    taken_for["nothing"] = {"red": 3, "off": 0}
    text = page_of(tmp_path, distill_result() | {"pictures": pictures, "taken_for": taken_for})
    assert text.count("<img") == 1  # the matrix is a table
    assert "Validation images" in text
    for cell in ("red, 10 labels", "7 (70 %)", "2 (20 %)", "nothing (false)"):
        assert cell in text


def test_a_training_of_an_older_version_shows_the_image_of_its_confusions(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "confusion.png"), np.zeros((4, 4, 3), np.uint8))
    text = page_of(tmp_path, distill_result() | {"pictures": {"confusion": "gone/confusion.png"}})
    assert text.count("<img") == 1


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
    assert '<th scope="col">a</th><th scope="col" class="number">b</th>' in html


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


@pytest.mark.default_cases("<b>red</b>", "a|b:c")
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


def camera_result(**changes: Any) -> dict[str, Any]:
    """A result with cameras: some of its figures are null, with a reason for each."""
    ages = {"age_ms": {"p50": 21.25, "p95": 41.5, "p99": None}, "dropped_share": 0.25}
    model = {
        "name": "a.onnx",
        "backend": "ort",
        "p50_ms": None,
        "p50_reason": "frames were detected together",
        **ages,
        "age_reason": {"p99": "p99 needs 459 samples"},
        "conf": 0.25,
        "queue_share": 0.125,
        "stages_ms": {"decode": 1.0, "inference": 8.0, "host_to_device": 3.0, "encoding": None},
        "stages_reason": {"encoding": "it was not asked for"},
        "stages_within": {"inference": ["host_to_device"]},
        "samples_ms": {"decode": [1.0], "inference": [8.0], "host_to_device": [3.0]},
        "cameras": [ages, ages | {"dropped_share": 0.5}],
    }
    return {"kind": "bench", "scenario": "paced", "models": [model | changes]}


@pytest.mark.parametrize(("scenario", "title"), [("paced", "A camera"), ("multi", "Several cameras")])
def test_a_scenario_with_cameras_makes_a_section(scenario: str, title: str, tmp_path: Path) -> None:
    text = page_of(tmp_path, camera_result() | {"scenario": scenario})
    assert f"<h2>{title}</h2>" in text
    for wanted in (
        "age at the decision, p50<br>milliseconds",
        "21.25",
        "41.50",
        "frames dropped<br>fraction, 0 to 1",
        "p50: frames were detected together.",
        "age p99: p99 needs 459 samples.",
        "stages encoding: it was not asked for.",
        "queue share",
        "camera 2 with a.onnx",
    ):
        assert wanted in text
    assert ">conf<" not in text


def test_parts_of_a_stage_are_not_added_to_it() -> None:
    (model,) = camera_result()["models"]
    assert stages_of(model) == {"decode": 1.0, "inference": 8.0}
    drawn = [block for block in latency_section(camera_result()).blocks if isinstance(block, Plot)]
    assert len(drawn) == 2
    assert ">9.0<" in re.sub(r"\s*\n\s*", "", drawn[0].svg)


def test_a_scenario_without_words_shows_its_measures_and_units(tmp_path: Path) -> None:
    result = camera_result(stages_ms=None, samples_ms=None) | {"scenario": "burst"}
    text = page_of(tmp_path, result | {"kind": "mlperf"})
    assert "<h2>Scenario burst</h2>" in text
    assert "queue share" in text
    assert "More measures" not in text


def test_all_scenarios_and_accuracy_stand_on_one_page(tmp_path: Path) -> None:
    offline = camera_result(throughput_fps=50.0) | {"kind": "offline", "scenario": "offline"}
    results = [bench_result(), offline, camera_result(), camera_result() | {"scenario": "multi"}]
    text = page_of(tmp_path, *results, eval_result())
    kinds = [title.partition(":")[0] for title in re.findall(r"<h2>(.*?)</h2>", text)]
    assert kinds[:2] == ["Accuracy against latency", "Accuracy"]
    assert kinds[2:] == ["Latency", "A camera", "Several cameras", "Throughput"]


def test_a_reason_of_one_model_names_it() -> None:
    two = bench_result()
    two["models"][1]["p99_reason"] = "too few"
    (missing,) = (b for b in latency_section(two).blocks if isinstance(b, Details) and "why" in b.summary)
    assert [b.text for b in missing.blocks if isinstance(b, Prose)] == ["p99 of b.onnx: too few."]


def test_the_page_says_nothing_of_its_writers_folders(tmp_path: Path) -> None:
    bench = bench_result() | {"command": "edgestill bench /home/ann/models/a.onnx"}
    bench["footage"] = {"source": "/home/ann/clips/street.mp4", "frames": 9}
    evaluated = eval_result("/home/ann/models/a.onnx") | {"data": "/home/ann/street/data.yaml"}
    text = page_of(tmp_path, bench, evaluated, {"kind": "doctor", "python": "/home/ann/env/bin/python"})
    assert "/home" not in text
    assert str(tmp_path) not in text
    for wanted in ("models/a.onnx", "clips/street.mp4", "street/data.yaml", "bin/python"):
        assert wanted in text


def test_every_drawing_has_one_for_narrow_screens(tmp_path: Path) -> None:
    (tmp_path / "history.csv").write_text("epoch,box,map50,map50_95\n0,0.3,,\n1,0.2,0.5,0.3\n")
    text = page_of(tmp_path, bench_result(), eval_result(), distill_result())
    assert text.count('class="wide"') == text.count('class="narrow"') == 4
    widths = [float(w) for w in re.findall(r'viewBox="0 0 ([\d.]+)', text)]
    assert {round(w) for w in widths} == {720, 288}


def test_a_cell_carries_its_heading_for_folded_tables(tmp_path: Path) -> None:
    table = Table(columns=("model", "time\nmilliseconds"), rows=[["x", 1.5]])
    text = page_with(tmp_path, Section(title="T", blocks=[table]))
    assert '<td class="number" data-label="time, milliseconds">1.50</td>' in text
    assert "time<br>milliseconds</th>" in text


def safety_result() -> dict[str, Any]:
    share = {"count": 1, "of": 8, "share": 0.125, "low": 0.003, "high": 0.527}
    none = {"count": 0, "of": 0, "share": None, "low": None, "high": None}
    flicker = {"light_minutes": 0.5, "false_changes": 2, "false_changes_per_minute": 4.0}
    flicker |= {"red_as_green_s": 0.4, "right_s": 20.0, "wrong_s": 1.0}
    keys = ("red_as_green", "red_also_green", "green_as_red", "red_missed", "green_missed")
    parts = ("short_side_px", "size", "image_luma", "surroundings_luma")
    model = {
        "name": "a.onnx",
        "precision": "int8",
        **dict.fromkeys(keys, share),
        **{f"red_missed_by_{part}": {"first": share, "second": none} for part in parts},
        "false_green": {"count": 3, "images": 4, "per_image": 0.75},
        "taken_for": {"red": {"red": 6, "missed": 1}, "nothing": {"red": 2}},
        "against_first": None,
        "clips": [{"clip": "drive.mp4", "raw": flicker, "smoothed": flicker}],
    }
    other = model | {
        "name": "b.onnx",
        "against_first": {"red_newly_missed": 2, "red_newly_found": 1, "p": 1.0},
    }
    return {
        "kind": "safety",
        "data": "street/data.yaml",
        "split": "test",
        "images": 4,
        "lights": {"red": 8},
        "colours": {"red": "red"},
        "setting": {"conf": 0.25, "seen_iou": 0.3},
        "models": [model, other],
        "doubts": ["there are 8 red lights"],
    }


def test_safety_has_a_section_and_a_headline(tmp_path: Path) -> None:
    result = safety_result()
    text = page_of(tmp_path, result, cards=headline_cards([result]))
    assert "<h2>Safety: street test</h2>" in text
    for wanted in (
        '<div class="card bad"><b>1 of 8</b>',
        "12.5 % (0.3 to 52.7)",
        "none there",
        "4.0<br>2 in 0.5 minutes",
        "drive.mp4, smoothed",
        "there are 8 red lights",
        "6 (86 %)",
    ):
        assert wanted in text
