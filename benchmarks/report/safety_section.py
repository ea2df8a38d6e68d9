"""The section of a page on the safety of detectors of traffic lights, and its measures as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.report.accuracy_section import confusion_table
from benchmarks.report.blocks import Block, Card, Cell, Details, Doubts, Prose, Section, Table, Tone

Result = Mapping[str, Any]
Row = tuple[str, list[str]]

SHARES = {
    "red_as_green": "red seen as green",
    "red_also_green": "red with a green box beside the right one",
    "green_as_red": "green seen as red",
    "red_missed": "red missed",
    "green_missed": "green missed",
}
PARTS = {
    "red_missed_by_short_side_px": "red missed, shorter side {} pixels",
    "red_missed_by_size": "red missed, {} by area",
    "red_missed_by_image_luma": "red missed, image {}",
    "red_missed_by_surroundings_luma": "red missed, surroundings {}",
}
ARMS = {"raw": "frame by frame", "smoothed": "smoothed"}


def safety_section(result: Result) -> Section:
    """Dangerous errors of each model, side by side, with their intervals."""
    models = result["models"]
    lights = ", ".join(f"{count} {name}" for name, count in result["lights"].items())
    setting = result["setting"]
    table = Table(columns=("measure", *_names(models)), rows=_rows(measures(result)), caption=CAPTION)
    blocks: list[Block] = [
        Prose(
            f"{result['images']} images of {result['split']} of {result['data']}: {lights}. Detections with "
            f"a score of at least {setting['conf']:g}; a light is seen from an IoU of "
            f"{setting['seen_iou']:g} on."
        ),
        table,
        *(_confusions(model) for model in models),
        Doubts(result["doubts"]),
    ]
    return Section(title=f"Safety: {Path(result['data']).parent.name} {result['split']}", blocks=blocks)


CAPTION = (
    "Count of all such lights with the share and its 95 % interval (Clopper and Pearson). Dark, dim, bright: "
    "mean luma, 0 black to 255 white, of the image or of what surrounds the light. Flicker: reported changes "
    "of state that the truth lacks."
)


def safety_cards(results: Sequence[Result]) -> list[Card]:
    """The headline of each model: red lights seen as green."""
    cards = []
    for result in results:
        for model in result["models"]:
            wrong = model["red_as_green"]
            label = f"red seen as green: {model['name']}, {result['split']}"
            tone: Tone = "bad" if wrong["count"] else ""
            cards.append(Card(value=f"{wrong['count']} of {wrong['of']}", label=label, tone=tone))
    return cards


def measures(result: Result) -> Iterator[Row]:
    """The measures of a result of ``eval --safety``: words, and a text for each model."""
    models = result["models"]
    if any(model.get("precision") for model in models):
        yield "precision", [model.get("precision") or "not known" for model in models]
    for key, words in SHARES.items():
        yield words, [share_in_words(model[key]) for model in models]
    yield "green seen where no light is, per image", [f"{m['false_green']['per_image']:.2f}" for m in models]
    for key, words in PARTS.items():
        for name in models[0][key]:
            yield words.format(name), [share_in_words(model[key][name]) for model in models]
    if len(models) > 1:
        yield (
            "red missed here and not by the first",
            [_against(model, "red_newly_missed") for model in models],
        )
        yield "red missed by the first and not here", [_against(model, "red_newly_found") for model in models]
        yield "p if both were equally good (McNemar)", [_p(model) for model in models]
    yield from _flicker(models)


def share_in_words(share: Result) -> str:
    """Counts, and the share with its interval in per cent, in two lines."""
    if not share["of"]:
        return "none there"
    low, high = (100 * share[bound] for bound in ("low", "high"))
    return f"{share['count']} of {share['of']}\n{100 * share['share']:.1f} % ({low:.1f} to {high:.1f})"


def _flicker(models: Sequence[Result]) -> Iterator[Row]:
    for k, clip in enumerate(models[0]["clips"]):
        for arm, words in ARMS.items():
            scores = [model["clips"][k][arm] for model in models]
            name = f"{clip['clip']}, {words}"
            yield f"flicker, false changes a minute of a light: {name}", [_false(score) for score in scores]
            yield (
                f"seconds of red shown as green: {name}",
                [f"{score['red_as_green_s']:.1f}" for score in scores],
            )
            yield f"seconds in a right and a wrong state: {name}", [_seconds(score) for score in scores]


def _false(score: Result) -> str:
    rate = score["false_changes_per_minute"]
    counted = f"{score['false_changes']} in {score['light_minutes']:.1f} minutes"
    return counted if rate is None else f"{rate:.1f}\n{counted}"


def _seconds(score: Result) -> str:
    return f"{score['right_s']:.1f} and {score['wrong_s']:.1f} of {60 * score['light_minutes']:.1f}"


def _against(model: Result, key: str) -> str:
    against = model["against_first"]
    return "–" if against is None else str(against[key])


def _p(model: Result) -> str:
    against = model["against_first"]
    return "–" if against is None else f"{against['p']:.2g}"


def _names(models: Sequence[Result]) -> list[str]:
    return [model["name"] for model in models]


def _rows(rows: Iterator[Row]) -> list[list[Cell]]:
    return [[words, *cells] for words, cells in rows]


def _confusions(model: Result) -> Block:
    caption = "Lights by true class and by class of the detection; last row: detections where no light is."
    return Details(
        summary=f"{model['name']}: confusion matrix", blocks=[confusion_table(model["taken_for"], caption)]
    )
