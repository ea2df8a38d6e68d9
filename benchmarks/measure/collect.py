"""Takes the samples: detectors in turns of a few frames, each with the same frames.

The first run of each turn is not counted, because caches hold data of the model before. If interleaved, each
round runs the same frames with every model, in alternating order (A B, B A, ...), so that temperature, clocks
and other load affect all of them alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

from benchmarks.measure import gpu_time
from benchmarks.measure.footage import Footage
from benchmarks.measure.samples import Samples
from benchmarks.statistics.compare import LEAST_ROUNDS
from edgestill.errors import UsageError
from edgestill.progress import Advance, progress
from runtime.detector import TimedDetector
from runtime.frames import Frame
from runtime.tiling import Tiling

TURN = 4  # frames of one model in a round, before the next model or the calibration
WARMUP_RUNS = 3  # lower limit, however short the warm-up


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

    def __post_init__(self) -> None:
        if self.duration_s < 0 or self.warmup_s < 0 or self.min_samples < 1:
            raise UsageError(
                f"duration {self.duration_s:g} s, warm-up {self.warmup_s:g} s, {self.min_samples} samples: "
                "nothing to measure",
                hint="give times of 0 or more, and at least one sample",
            )


def collect(
    detectors: Sequence[TimedDetector], footage: Footage, settings: Settings, tick: Callable[[], None]
) -> list[Samples]:
    """Warm up and measure all detectors; ``tick`` is called between rounds.

    Each detector gets the same frames. Several are measured in as many rounds as a comparison needs, or more.
    """
    samples = [Samples() for _ in detectors]
    _warm_up(detectors, footage, settings.warmup_s)
    groups = [list(range(len(detectors)))] if settings.interleave else [[k] for k in range(len(detectors))]
    least = LEAST_ROUNDS if len(detectors) > 1 else 1
    seconds = max(1, round(settings.duration_s * len(detectors)))
    with progress("bench", seconds) as advance:
        meter = _Meter(advance, seconds)
        for group in groups:
            round_number = 0
            footage.restart()
            while round_number < least or not all(_enough(samples[k], settings) for k in group):
                frames = footage.take(TURN)
                for k in group if round_number % 2 == 0 else reversed(group):
                    _turn(detectors[k], frames, samples[k], round_number)
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


def _warm_up(detectors: Sequence[TimedDetector], footage: Footage, seconds: float) -> None:
    frames = footage.take(WARMUP_RUNS)
    for detector in detectors:
        start, runs = perf_counter(), 0
        while runs < WARMUP_RUNS or perf_counter() - start < seconds:
            detector.timed(frames[runs % len(frames)].image_bgr)
            runs += 1


def _turn(detector: TimedDetector, frames: Sequence[Frame], samples: Samples, round_number: int) -> None:
    detector.timed(frames[0].image_bgr)
    for frame in frames:
        before = gpu_time.total_ms(detector)
        found, stages_ms = detector.timed(frame.image_bgr)
        samples.add(frame, stages_ms, round_number, len(found))
        if before is not None:
            samples.gpu_ms.append(round((gpu_time.total_ms(detector) or 0.0) - before, 4))


def _enough(samples: Samples, settings: Settings) -> bool:
    return len(samples) >= settings.min_samples and samples.total_ms >= settings.duration_s * 1e3
