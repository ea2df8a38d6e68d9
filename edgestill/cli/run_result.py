"""The result of ``edgestill run`` as JSON and as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from edgestill.errors import DataError, ToolchainError
from runtime.interrupts import Terminated

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from edgestill.cli.options.saving import ExtraSinks
    from runtime.frames import FrameSource
    from runtime.pipeline import RunEnd, StreamEnd

BOXES_SHOWN = 40  # of a single image, in the table
FILES_SHOWN = 2  # by name, in the table


class RunResult(dict[str, Any]):
    """The result as plain data.

    Attributes:
        failure: What is raised after the result was printed; None after a good run.
    """

    failure: BaseException | None = None


def source_entry(
    end: StreamEnd,
    source: FrameSource,
    *,
    text: str,
    codec: str | None,
    extra: ExtraSinks,
    boxes: list[dict[str, Any]] | None,
    max_frames: int | None,
) -> dict[str, Any]:
    """The figures of one source.

    Args:
        end: How it ended.
        source: The source, after the run.
        text: Its argument of ``--source``, without passwords.
        codec: Codec of the video that was saved.
        extra: Sinks of crops and label files.
        boxes: The detections of a single image.
        max_frames: Value of ``--max-frames``.
    """
    # No frame beyond the limit was asked for.
    broke_off = None if end.summary.frames == max_frames else source.broke_off
    return {
        "source": text,
        "source_name": end.name,
        "decoder": source.decoder,
        "source_frames": source.total,
        **asdict(end.summary),
        "codec": codec,
        "complete": end.is_complete and broke_off is None,
        "error": end.error.what if isinstance(end.error, ToolchainError) else end.error and str(end.error),
        "doubts": [*source.doubts, *([broke_off] if broke_off else [])],
        **extra.to_json(),
        "boxes": boxes,
    }


def run_result(facts: Mapping[str, Any], entries: Sequence[dict[str, Any]], end: RunEnd) -> RunResult:
    """The whole result: of one source its figures, of several their sums and ``sources`` with each.

    Args:
        facts: Model, backend and device.
        entries: Of ``source_entry``, one for each source.
        end: How the run ended.
    """
    files = [*(file for entry in entries for file in entry["files"]), *end.files]
    figures = dict(entries[0]) if len(entries) == 1 else _sums(entries)
    result = RunResult({**facts, **figures, "files": files, "ended_by": _signal(end)})
    result.failure = _failure(entries, end)
    return result


def summary_lines(result: Mapping[str, Any]) -> list[str]:
    """A line for each source: frames, drops and files."""
    return [_line(entry, named="sources" in result) for entry in result.get("sources", [result])]


def tables(result: Mapping[str, Any]) -> RenderableType:
    """The summary as a table; of a single image also its boxes."""
    from rich.console import Group  # noqa: PLC0415

    entries = result.get("sources", [result])
    shown: list[Table] = []
    for entry in entries:
        shown.append(_table(result, entry))
        if entry["boxes"]:
            shown.append(_box_table(entry["boxes"]))
    if result["events"]:
        shown[0].add_row("events", f"{result['events']['lines']} in {result['events']['file']}")
    return Group(*shown)


def _sums(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    detections: dict[str, int] = {}
    for entry in entries:
        for name, count in entry["detections"].items():
            detections[name] = detections.get(name, 0) + count
    return {
        "frames": sum(entry["frames"] for entry in entries),
        "dropped": sum(entry["dropped"] for entry in entries),
        "detections": detections,
        "complete": all(entry["complete"] for entry in entries),
        "doubts": [f"{entry['source_name']}: {doubt}" for entry in entries for doubt in entry["doubts"]],
        "sources": list(entries),
    }


def _signal(end: RunEnd) -> str | None:
    """Name of the signal that ended the run."""
    if end.interrupted is None:
        return None
    return end.interrupted.name if isinstance(end.interrupted, Terminated) else "SIGINT"


def _failure(entries: Sequence[Mapping[str, Any]], end: RunEnd) -> BaseException | None:
    """What ends the process with an exit code other than 0: a signal, or the first source that failed."""
    if isinstance(end.interrupted, Terminated):
        return end.interrupted
    if end.interrupted is not None and not all(stream.is_complete for stream in end.streams):
        return end.interrupted
    for entry, stream in zip(entries, end.streams, strict=True):
        if stream.error is not None:
            return stream.error
        if not entry["complete"]:
            hint = (
                "the results up to there are good; copy the file again, or repair it: "
                "ffmpeg -i IN -c copy OUT"
            )
            return DataError(entry["doubts"][-1], hint=hint)
    return None


def _line(entry: Mapping[str, Any], *, named: bool) -> str:
    files = entry["files"]
    wrote = f"; wrote {files[0] if len(files) == 1 else f'{len(files)} files'}" if files else ""
    folders = [entry[key] for key in ("crops", "label_files") if entry[key]]
    wrote += "".join(f"; {one['files']} files in {one['folder']}" for one in folders)
    who = f"{entry['source_name']}: " if named else ""
    return f"{who}{entry['frames']} frames at {entry['fps']:.1f} fps, {_drops(entry)}{wrote}"


def _drops(entry: Mapping[str, Any]) -> str:
    counted = {cause: count for cause, count in entry["drops"].items() if count}
    causes = ", ".join(f"{count} {cause.replace('_', ' ')}" for cause, count in counted.items())
    return f"{entry['dropped']} dropped{f' ({causes})' if causes else ''}"


def _table(result: Mapping[str, Any], entry: Mapping[str, Any]) -> Table:
    from rich.table import Table  # noqa: PLC0415

    where = entry["source_name"] if "sources" in result else entry["source"]
    table = Table(title=f"{result['name']} on {where}", show_header=False, title_justify="left")
    table.add_row("backend", f"{result['backend']} on {result['device']}")
    table.add_row("decoder", entry["decoder"])
    table.add_row("frames", f"{entry['frames']} at {entry['fps']:.1f} fps, {_drops(entry)}")
    found = ", ".join(f"{count} {name}" for name, count in entry["detections"].items())
    table.add_row("detections", found or "none")
    if entry["tracks"] is not None:
        table.add_row("tracks", str(entry["tracks"]))
    if entry["age_ms"] is not None:
        ages = " / ".join(f"{entry[key]:.1f}" for key in ("age_ms", "age_p95_ms", "age_p99_ms"))
        table.add_row("frame age p50 / p95 / p99, ms", ages)
    stages = ", ".join(f"{stage} {ms:.2f}" for stage, ms in entry["stages_ms"].items())
    table.add_row("median time, ms", stages)
    files = entry["files"]
    if files:
        codec = f", {entry['codec']}" if entry["codec"] else ""
        few = ", ".join(str(path) for path in files)
        table.add_row(
            "written",
            f"{few}{codec}" if len(files) <= FILES_SHOWN else f"{len(files)} files in {files[0].parent}",
        )
    for key, what in (("crops", "crops"), ("label_files", "label files")):
        if entry[key]:
            count = entry[key]["files"]
            table.add_row(what, f"{count} file{'' if count == 1 else 's'} in {entry[key]['folder']}")
    for doubt in entry["doubts"]:
        table.add_row("warning", doubt)
    if entry["error"]:
        table.add_row("ended early", entry["error"])
    return table


def _box_table(boxes: Sequence[Mapping[str, Any]]) -> Table:
    """The boxes of an image, highest score first."""
    from rich.table import Table  # noqa: PLC0415

    shown = boxes[:BOXES_SHOWN]
    rest = f", the first {len(shown)} of them here" if len(shown) < len(boxes) else ""
    table = Table(title=f"{len(boxes)} detection{'s' if len(boxes) > 1 else ''}{rest}", title_justify="left")
    table.add_column("class")
    for column in ("score", "x0", "y0", "x1", "y1"):
        table.add_column(f"{column} px" if column != "score" else column, justify="right")
    for box in shown:
        table.add_row(box["class"], f"{box['score']:.2f}", *(f"{side:.1f}" for side in box["box"]))
    return table
