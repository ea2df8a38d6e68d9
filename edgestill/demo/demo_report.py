"""The report of the demo: figures from the results of its steps, and a page with them and the commands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2

from benchmarks.report.accuracy_section import accuracy_section
from benchmarks.report.blocks import (
    Block,
    Card,
    Cell,
    Commands,
    Doubts,
    Picture,
    Pictures,
    Prose,
    Section,
    Table,
    Tone,
)
from benchmarks.report.latency_section import comparison_table, latency_section
from benchmarks.report.page import write_report
from benchmarks.report.training_section import training_section
from benchmarks.statistics.compare import compare_models
from edgestill.errors import DataError
from edgestill.files import write_json
from runtime.frames import open_source

REPORT, CLIP, SUMMARY = "report.html", "annotated.mp4", "summary.json"
LEAD = (
    "A yolov5n for traffic lights got a new detection head. It learned from a yolov5s and from labels, was "
    "exported, quantised, compared with its checkpoint, measured, and run on a clip. All of this was done on "
    "this machine by the run that wrote this page, on rendered scenes. Results on real streets are in the "
    "project's docs/results."
)
STILLS = 3  # frames of the clip that are shown

#: Limits that the cards are coloured by: INT8 time over FP32 time, and mAP50-95 points lost.
MAX_INT8_RATIO, MAX_INT8_DROP = 0.7, 1.0

Result = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResults:
    """The results of the demo's steps.

    Attributes:
        steps: Command line and seconds of each, in order.
        distilled: Result of ``distill``.
        evals: Results of ``eval``: the teacher, the student before its first step, the student afterwards.
        exports: Results of ``export``.
        bench: Result of ``bench`` on FP32 and INT8 of ONNX Runtime, then of OpenVINO.
        clip: Result of ``run``.
        seconds: Duration of all steps.
    """

    steps: tuple[tuple[str, float], ...]
    distilled: Result
    evals: tuple[Result, ...]
    exports: tuple[Result, ...]
    bench: Result
    clip: Result
    seconds: float


def write_demo_report(out: Path, results: DemoResults) -> dict[str, Any]:
    """Write ``report.html`` and ``summary.json``; returns the content of the latter."""
    pairs = _pairs(results.bench)
    figures = _figures(results, pairs)
    summary = {
        "kind": "demo",
        "figures": figures,
        "steps": [{"command": command, "seconds": round(s, 1)} for command, s in results.steps],
        "int8_against_fp32": pairs,
        "exports": [{k: v for k, v in e.items() if k != "calibration"} for e in results.exports],
        "evals": list(results.evals),
        "clip": results.clip,
        "data_sets": [str(path.parent) for path in sorted(out.glob("*/data.yaml"))],
    }
    write_report(
        _sections(out, results, pairs),
        out / REPORT,
        title="edgestill: from a teacher to a device-ready detector",
        lead=LEAD,
        cards=_cards(figures),
        force=True,
    )
    summary["files"] = files_of_demo(out)
    write_json(out / SUMMARY, summary)
    return summary


def files_of_demo(out: Path) -> list[str]:
    """The files of a demo's folder: report, clip and summary first, without the images of its data sets."""
    first = [out / name for name in (REPORT, CLIP, SUMMARY)]
    data_sets = {path.parent for path in out.glob("*/data.yaml")}
    rest = [
        path
        for path in sorted(out.rglob("*"))
        if path.is_file() and path not in first and not data_sets & {*path.parents}
    ]
    return [str(path) for path in (*first, *rest)]


def _pairs(bench: Result) -> dict[str, list[dict[str, Any]]]:
    """INT8 against FP32 by backend: whole frames, and inference alone."""
    models = bench["models"]
    return {
        fp32["backend"]: compare_models(fp32, int8, paired=bool(bench["interleaved"]))
        for fp32, int8 in zip(models[::2], models[1::2], strict=True)
    }


def _figures(results: DemoResults, pairs: Mapping[str, Sequence[Result]]) -> dict[str, float | None]:
    teacher, before, after = (e["map50_95"] for e in results.evals)
    figures: dict[str, float | None] = {
        "teacher_map50_95": teacher,
        "student_before_map50_95": before,
        "student_after_map50_95": after,
        "student_after_map50": results.evals[2]["map50"],
    }
    for backend, comparisons in pairs.items():
        inference = next(c for c in comparisons if c["measure"] == "inference")
        figures[f"int8_time_ratio_{backend}"] = inference["ratio"]
    for export in results.exports:
        if export["precision"] == "int8":
            figures[f"int8_drop_points_{export['to']}"] = export["verify"]["drop_points"]
    figures["clip_fps"] = results.clip["fps"]
    figures["seconds"] = round(results.seconds, 1)
    return figures


def _cards(figures: Mapping[str, float | None]) -> list[Card]:
    def points(key: str) -> str:
        value = figures[key]
        return "–" if value is None else f"{100 * value:.1f}"

    ratio, drop = figures["int8_time_ratio_ov"], figures["int8_drop_points_openvino"]
    before, teacher = points("student_before_map50_95"), points("teacher_map50_95")
    cards = [
        Card(
            value=points("student_after_map50_95"),
            label=f"mAP50-95 of the student on test scenes; {before} before distillation, teacher {teacher}",
        )
    ]
    if ratio is not None:
        label = "time of INT8 against FP32 on OpenVINO"
        cards.append(Card(value=f"{ratio:.2f} ×", label=label, tone=_tone(ratio <= MAX_INT8_RATIO)))
    if drop is not None:
        label = "mAP50-95 points lost by INT8 on OpenVINO"
        cards.append(Card(value=f"{drop:+.2f}", label=label, tone=_tone(drop <= MAX_INT8_DROP)))
    fps = figures["clip_fps"]
    if fps is not None:
        cards.append(Card(value=f"{fps:.0f} fps", label="from decoding to the annotated frame, on the clip"))
    return cards


def _tone(good: bool) -> Tone:
    return "good" if good else "bad"


def _sections(out: Path, results: DemoResults, pairs: Mapping[str, Sequence[Result]]) -> list[Section]:
    steps: list[list[Cell]] = [[i, f"{s:.1f}", line] for i, (line, s) in enumerate(results.steps, 1)]
    ratios = comparison_table([c for comparisons in pairs.values() for c in comparisons])
    accuracy = accuracy_section(results.evals)
    return [
        Section(title="The clip", blocks=_clip_blocks(out, results.clip)),
        Section(title="Exports compared with their checkpoint", blocks=_export_blocks(results.exports)),
        Section(title="INT8 against FP32", blocks=[ratios]),
        latency_section(results.bench),
        *([accuracy] if accuracy else []),
        training_section(results.distilled, str(out / "distilled" / "result.json")),
        Section(
            title="Every step",
            blocks=[
                Table(
                    columns=("step", "seconds", "command"),
                    rows=steps,
                    caption=f"{results.seconds:.0f} s in total.",
                ),
                Prose(
                    "Not run here: TensorRT, Jetson boards and GPUs. Scenes and clip are rendered: these "
                    "figures show that every stage works, not how well it detects lights on real streets.",
                    note=True,
                ),
            ],
        ),
    ]


def _clip_blocks(out: Path, clip: Result) -> list[Block]:
    stages: list[list[Cell]] = [[name, ms] for name, ms in clip["stages_ms"].items()]
    return [
        Pictures(_stills(out / CLIP)),
        Table(
            columns=("stage", "median\nmilliseconds"),
            rows=stages,
            caption=f"{clip['frames']} frames, {clip['model']}.",
        ),
        Prose(f"The whole clip is {out / CLIP}."),
    ]


def _export_blocks(exports: Sequence[Result]) -> list[Block]:
    rows: list[list[Cell]] = []
    for export in exports:
        v = export["verify"]
        files = [Path(f) for f in export["files"] if Path(f).suffix in {".onnx", ".xml", ".bin"}]
        executed = export["precision_proved"]["executed"]
        rows.append(
            [
                f"{export['to']} {export['precision']}",
                sum(f.stat().st_size for f in files) / 2**20,
                ", ".join(f"{count} {dtype}" for dtype, count in executed.items()),
                f"{v['matched']} of {v['reference_sure']}",
                v["extra"],
                v["red_green_swaps"],
                _or_dash(v["score_drift_mean"], "+.4f"),
                _or_dash(None if v["candidate_map50_95"] is None else 100 * v["candidate_map50_95"], ".2f"),
                _or_dash(v["drop_points"], "+.2f"),
            ]
        )
    columns = (
        "file",
        "size\nmebibytes",
        "layers run as",
        "matched",
        "extra",
        "red/green swaps",
        "score drift",
        "mAP50-95\npoints of 100",
        "lost\npoints of 100",
    )
    caption = (
        "Each file compared with its checkpoint on the test scenes. Matched: detections of the checkpoint "
        "with a score of at least 0.5 that the file has too: same class, IoU above 0.5, score above 0.25."
    )
    return [
        Table(columns=columns, rows=rows, caption=caption),
        Doubts(list(dict.fromkeys(doubt for e in exports for doubt in e["doubts"]))),
        Commands([str(e["manifest"]) for e in exports]),
    ]


def _or_dash(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _stills(clip: Path) -> list[Picture]:
    """Frames at equal distances in the clip, as they were written."""
    with closing(open_source(str(clip))) as source:
        frames = list(source.frames())
    picked = [frames[(2 * i + 1) * len(frames) // (2 * STILLS)] for i in range(STILLS)]
    pictures = []
    for frame in picked:
        good, data = cv2.imencode(".jpg", frame.image_bgr, [cv2.IMWRITE_JPEG_QUALITY, 85])
        if not good:
            raise DataError(f"frame {frame.index} of {clip} cannot be encoded", hint="run the demo again")
        pictures.append(Picture(data=data.tobytes(), mime="image/jpeg", caption=f"frame {frame.index}"))
    return pictures
