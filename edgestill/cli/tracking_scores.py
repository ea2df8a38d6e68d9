"""Quality of tracking and of the states of lights, as Markdown tables.

python -m edgestill.cli.tracking_scores --truth drive.gt.json --model student --clips DIR --judged judged.json

``--truth`` files hold true boxes, identities and states, as ``edgestill data clip`` writes them. They are
scored with simulated detections and, with ``--model``, with those of a model on the video of that name in
``--clips``. ``--judged`` files hold boxes of clips that a person has judged; they need ``--model``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median

import edgestill
from benchmarks.tracking.false_lights import ConfirmedTracks, read_judged, score_confirmed
from benchmarks.tracking.identities import Identities, score_identities
from benchmarks.tracking.known_tracks import Clip, read_clip
from benchmarks.tracking.played_clip import PlayedFrame, play, times_of
from benchmarks.tracking.simulated_detections import Faults, simulate
from benchmarks.tracking.state_changes import StateChanges, score_changes
from edgestill.cli.table_text import points
from edgestill.demo.lights import COLOURS, LightStates
from edgestill.detections import Detections
from edgestill.errors import ToolchainError, UsageError
from runtime.detector import Detector
from runtime.tracking import Tracker, TrackerSettings

RATES = (30.0, 10.0, 5.0, 2.0)
SEEDS = 3
STATES = (*sorted(COLOURS), "yellow")
Score = tuple[Identities, StateChanges]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The detections of a model in a video.

    Attributes:
        fps: Frames per second.
        times_s: Time of each frame, seconds.
        detections: Of each frame.
    """

    fps: float
    times_s: tuple[float, ...]
    detections: tuple[Detections, ...]


def detect(detector: Detector, video: Path) -> Seen:
    """Run a model on every frame of a video.

    Raises:
        DataError: The video cannot be read.
    """
    source = edgestill.open_source(video)
    try:
        found = [(frame.time_s, detector(frame.image_bgr)) for frame in source.frames()]
    finally:
        source.close()
    return Seen(
        fps=source.fps or RATES[0],
        times_s=tuple(time_s for time_s, _ in found),
        detections=tuple(detections for _, detections in found),
    )


def rates_table(
    clips: Sequence[Clip], seen: Mapping[str, Seen], classes: Sequence[str], rates: Sequence[float]
) -> Iterator[str]:
    """Lines of the table of identities and changes of state; ``seen`` is what a model found, by clip."""
    yield (
        "| clip | detections | frames/s | HOTA | AssA | IDF1 | without id | tracks "
        "| changes right | late, s (median, most) | false | first state, s |"
    )
    yield "|---|---|" + "---:|" * 10
    for clip in clips:
        for rate in rates:
            at_rate = clip.at_rate(rate)
            runs = [
                _score(at_rate, _play(times_of(at_rate), simulate(at_rate, Faults(), seed), rate, classes))
                for seed in range(SEEDS)
            ]
            yield _row(clip.name, "simulated", rate, runs)
            if clip.name in seen and rate <= clip.fps:
                found = [seen[clip.name].detections[frame.index] for frame in at_rate.frames]
                played = _play(times_of(at_rate), found, rate, classes)
                yield _row(clip.name, "model", rate, [_score(at_rate, played)])


def judged_table(judged_path: Path, seen: Mapping[str, Seen], classes: Sequence[str]) -> Iterator[str]:
    """Lines of the table of confirmed tracks by what they are."""
    yield (
        "| clip | minutes | no light | a minute | pedestrian signals | lights | their tracks | detections "
        "| box in a box |"
    )
    yield "|---|" + "---:|" * 8
    found: list[ConfirmedTracks] = []
    for name, boxes in read_judged(judged_path).items():
        clip = seen[name]
        played = _play(clip.times_s, clip.detections, clip.fps, classes)
        found.append(score_confirmed(boxes, played, STATES))
        yield _judged_row(name, found[-1:])
    yield _judged_row("all", found)


def _play(
    times_s: Sequence[float], found: Sequence[Detections], rate: float, classes: Sequence[str]
) -> list[PlayedFrame]:
    tracker = Tracker(TrackerSettings(by_class=False), period_s=1 / rate)
    return play(times_s, found, tracker, LightStates(classes))


def _score(clip: Clip, played: Sequence[PlayedFrame]) -> Score:
    return score_identities(clip, played), score_changes(clip, played)


def _row(name: str, source: str, rate: float, runs: Sequence[Score]) -> str:
    ids, changes = [run[0] for run in runs], [run[1] for run in runs]
    late = [seconds for c in changes for seconds in c.late_s]
    told = [seconds for c in changes for seconds in c.told_s]
    cells = [
        name,
        source,
        f"{rate:g}",
        points(mean(i.hota for i in ids)),
        points(mean(i.assa for i in ids)),
        points(mean(i.idf1 for i in ids)),
        f"{mean(i.without_id for i in ids):.0f} of {mean(i.detections for i in ids):.0f}",
        f"{mean(i.tracks for i in ids):.0f}",
        f"{sum(c.right for c in changes)} of {sum(c.true for c in changes)}",
        f"{median(late):.2f}, {max(late):.2f}" if late else "-",
        str(sum(c.false for c in changes)),
        f"{median(told):.2f} ({len(told)} of {sum(c.lights for c in changes)})" if told else "-",
    ]
    return f"| {' | '.join(cells)} |"


def _judged_row(name: str, found: Sequence[ConfirmedTracks]) -> str:
    minutes = sum(f.minutes for f in found)
    tracks = {kind: sum(f.tracks.get(kind, 0) for f in found) for kind in ("other", "pedestrian", "light")}
    unjudged = sum(f.tracks.get("unjudged", 0) for f in found)
    wrong = f"{tracks['other']}" + (f" and {unjudged} not judged" if unjudged else "")
    cells = [name, f"{minutes:.2f}", wrong, f"{tracks['other'] / minutes:.1f}"]
    cells += [str(tracks["pedestrian"]), str(sum(f.lights for f in found)), str(tracks["light"])]
    cells += [str(sum(f.detections.get("light", 0) for f in found)), str(sum(f.nested for f in found))]
    return f"| {' | '.join(cells)} |"


def main(words: Sequence[str] | None = None) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m edgestill.cli.tracking_scores", description=__doc__)
    parser.add_argument("--truth", action="append", default=[], type=Path, metavar="FILE.gt.json")
    parser.add_argument("--judged", type=Path, metavar="FILE.json")
    parser.add_argument("--model", help="whose detections are tracked, too")
    parser.add_argument("--clips", type=Path, default=Path(), metavar="DIR", help="folder of the videos")
    parser.add_argument("--rate", action="append", type=float, metavar="FPS", help="default 30, 10, 5 and 2")
    args = parser.parse_args(words)
    try:
        _run(args)
    except ToolchainError as error:
        print(f"tracking_scores: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _run(args: argparse.Namespace) -> None:
    if not args.truth and not args.judged:
        raise UsageError("there is nothing to score", hint="name a file with --truth or --judged")
    if args.judged and not args.model:
        raise UsageError("--judged needs the detections of a model", hint="--model student")
    clips = [read_clip(path) for path in args.truth]
    names = {clip.name for clip in clips if (args.clips / clip.name).is_file()}
    if args.judged:
        names |= set(read_judged(args.judged))
    seen: dict[str, Seen] = {}
    classes: Sequence[str] = clips[0].names if clips else ()
    if args.model:
        with closing(edgestill.open_detector(args.model)) as detector:
            classes = detector.spec.classes
            seen = {name: detect(detector, args.clips / name) for name in sorted(names)}
    if clips:
        print("\n".join(rates_table(clips, seen, classes, args.rate or RATES)), end="\n\n")
    if args.judged:
        print("\n".join(judged_table(args.judged, seen, classes)))


if __name__ == "__main__":
    sys.exit(main())
