"""Takes the samples: detectors in turns of a few frames, each with the same frames.

The first run of each turn is not counted, because caches hold data of the model before. If interleaved, each
round runs the same frames with every model, in alternating order (A B, B A, ...), so that temperature, clocks
and other load affect all of them alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from benchmarks.measure.footage import Footage
from benchmarks.measure.gpu_time import GpuTotals
from benchmarks.measure.later_stages import LaterStages, MakeAfterBoxes
from benchmarks.measure.samples import Samples
from benchmarks.measure.steady import keep_steady
from benchmarks.statistics.compare import LEAST_ROUNDS
from benchmarks.statistics.steady_state import BATCH, truncation
from edgestill.errors import UsageError
from edgestill.progress import Advance, progress
from runtime.detector import TimedDetector
from runtime.frames import Frame
from runtime.tiling import Tiling

TURN = 4  # frames of one model in a round, before the next model or the calibration
MOST_FPS, MOST_STREAMS = 1000, 64  # more is taken for a typing error
WARMUP_RUNS = 3  # lower limit, however short the warm-up
WARMUP_LIMIT = 4  # times the warm-up that was asked for, while the times are not steady


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of a measurement.

    Attributes:
        source: An image, a folder or a video; None for the drawn street.
        duration_s: Smallest measured time of each model, seconds.
        min_samples: Smallest number of samples of each model; several models get at least ``LEAST_ROUNDS``
            rounds of ``TURN`` frames.
        warmup_s: Warm-up of each model, seconds.
        backend: ``auto`` chooses by the file.
        device: See ``runtime.backend.open_backend``.
        threads: CPU threads; None leaves the choice to the library.
        trust_engine: Whether engines that were not built on this machine are run.
        input_hw: Input height and width in pixels, for files with free sizes; None for the files' own.
        interleave: Whether models are measured alternately; else one after the other.
        tilings: Each model is measured with each of them.
        fps: Frames per second of each camera.
        streams: Number of cameras.
        after_boxes: Makes what measures tracking, drawing and encoding; None to leave them out.
        processes: Fresh processes of each model, in which it is measured; 0 for this one alone.
        builds: Model files, and another build of each of them, which processes use in turns with it.
    """

    source: str | None = None
    duration_s: float = 10.0
    min_samples: int = 50
    warmup_s: float = 1.0
    backend: str = "auto"
    device: str | None = None
    threads: int | None = None
    trust_engine: bool = False
    input_hw: tuple[int, int] | None = None
    interleave: bool = False
    tilings: tuple[Tiling, ...] = (Tiling(),)
    fps: float = 30.0
    streams: int = 1
    after_boxes: MakeAfterBoxes | None = None
    processes: int = 0
    builds: tuple[tuple[Path, Path], ...] = ()

    def __post_init__(self) -> None:
        if self.duration_s < 0 or self.warmup_s < 0 or self.min_samples < 1:
            raise UsageError(
                f"duration {self.duration_s:g} s, warm-up {self.warmup_s:g} s, {self.min_samples} samples: "
                "nothing to measure",
                hint="give times of 0 or more, and at least one sample",
            )
        if not 0 < self.fps <= MOST_FPS or not 1 <= self.streams <= MOST_STREAMS:
            raise UsageError(
                f"{self.streams} cameras at {self.fps:g} frames per second",
                hint=f"1 to {MOST_STREAMS} cameras, at a rate above 0 and up to {MOST_FPS}",
            )
        if self.processes < 0 or (self.builds and not self.processes):
            raise UsageError(
                f"{len(self.builds)} other builds in {self.processes} processes: nothing takes turns",
                hint="--processes 8",
            )


def collect(
    detectors: Sequence[TimedDetector],
    footage: Footage,
    settings: Settings,
    tick: Callable[[], None],
    *,
    later: Sequence[LaterStages] = (),
) -> list[Samples]:
    """Warm up and measure all detectors.

    Each detector gets the same frames. Several are measured in as many rounds as a comparison needs, or more.

    Args:
        detectors: The detectors.
        footage: The frames.
        settings: How to measure.
        tick: Called between rounds.
        later: What measures the stages after the boxes of each detector; empty to leave them out.
    """
    samples = [Samples() for _ in detectors]
    frames = footage.take(WARMUP_RUNS)
    for detector, taken in zip(detectors, samples, strict=True):
        taken.warmup_ms.append(warm_up(detector, frames, settings.warmup_s))
    groups = [list(range(len(detectors)))] if settings.interleave else [[k] for k in range(len(detectors))]
    least = LEAST_ROUNDS if len(detectors) > 1 else 1
    seconds = max(1, round(settings.duration_s * len(detectors)))
    with progress("bench", seconds) as advance:
        meter = _Meter(advance, seconds)
        for group in groups:
            round_number, is_cut = 0, False
            footage.restart()
            while True:
                if all(_enough(samples[k], settings, least) for k in group):
                    if is_cut:
                        break
                    keep_steady([samples[k] for k in group])
                    is_cut = True  # once; what was left out is taken again
                    continue
                frames = footage.take(TURN)
                for k in group if round_number % 2 == 0 else reversed(group):
                    take_turn(detectors[k], frames, samples[k], round_number, later[k] if later else None)
                    meter.show(sum(taken.total_ms for taken in samples))
                tick()
                round_number += 1
    return samples


class _Meter:
    """Advances a progress bar by whole seconds, up to its end.

    Slow models may take longer, until they have ``min_samples``.
    """

    def __init__(self, advance: Advance, seconds: int) -> None:
        self._advance, self._seconds, self._shown = advance, seconds, 0

    def show(self, done_ms: float) -> None:
        step = min(int(done_ms // 1000), self._seconds) - self._shown
        if step > 0:
            self._shown += step
            self._advance(step)


def warm_up(detector: TimedDetector, frames: Sequence[Frame], seconds: float) -> list[float]:
    """Run a detector until its times are steady; milliseconds of inference of each run.

    Args:
        detector: The detector.
        frames: Frames that are repeated.
        seconds: Shortest time; the longest is ``WARMUP_LIMIT`` times as long.
    """
    start, times_ms = perf_counter(), list[float]()
    while len(times_ms) < WARMUP_RUNS or not _is_warm(times_ms, perf_counter() - start, seconds):
        _, stages_ms = detector.timed(frames[len(times_ms) % len(frames)].image_bgr)
        times_ms.append(stages_ms["inference"])
    return times_ms


def _is_warm(times_ms: Sequence[float], elapsed_s: float, least_s: float) -> bool:
    if elapsed_s < least_s:
        return False
    # Looked at after each batch: before, there is nothing new to see.
    return elapsed_s >= WARMUP_LIMIT * least_s or (
        len(times_ms) % BATCH == 0 and truncation(times_ms) is not None
    )


def take_turn(
    detector: TimedDetector,
    frames: Sequence[Frame],
    samples: Samples,
    round_number: int,
    later: LaterStages | None = None,
) -> None:
    """Add the samples of one turn; a first run is not counted."""
    detector.timed(frames[0].image_bgr)
    for frame in frames:
        before = GpuTotals.of(detector)
        found, stages_ms = detector.timed(frame.image_bgr)
        samples.add(frame, stages_ms, round_number, len(found))
        GpuTotals.of(detector).add_since(before, samples)
        if later is not None:
            samples.add_other(later.timed(frame, found, stages_ms))


def _enough(samples: Samples, settings: Settings, least_rounds: int) -> bool:
    is_long = len(samples) >= settings.min_samples and samples.total_ms >= settings.duration_s * 1e3
    return is_long and len(set(samples.rounds)) >= least_rounds
