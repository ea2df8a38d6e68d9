"""Signals during a run: a recording stays, a line is whole, a frame is written to its end."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from runtime.frames import open_source
from runtime.interrupts import Interrupts

#: A camera without end, recorded with JSON lines; argument: the file.
RECORDING = """
import sys, time
from pathlib import Path
import numpy as np
from edgestill.detections import Detections
from edgestill.spec import ModelSpec
from runtime.frames import Frame
from runtime.pipeline import Pipeline, Stream
from runtime.sinks.jsonlines import JsonLines
from runtime.sinks.video_writer import VideoSink

class Detector:
    spec = ModelSpec(name="none", input_hw=(32, 32), classes=("a", "b"))
    def timed(self, image_bgr):
        return Detections.empty(), {}

class Camera:
    is_live, fps, total, dropped, drops, doubts, broke_off = LIVE, 50.0, None, 0, {}, (), None
    def frames(self):
        for i in range(10**6):
            time.sleep(0.001)
            image = np.full((48, 64, 3), i % 256, np.uint8)
            yield Frame(image_bgr=image, index=i, captured_s=0.0, name="c", decode_ms=1.0, time_s=i / 50)

target = Path(sys.argv[1])
video = VideoSink(target, 50.0, force=True, is_live=LIVE)
pipeline = Pipeline(Detector(), sinks=[JsonLines(sys.stdout, ("a", "b"))])
end = pipeline.run([Stream(source=Camera(), name="c", sinks=[video])])
summary = end.streams[0].summary
print(summary.frames, *summary.files, file=sys.stderr)
if end.interrupted is not None:
    raise end.interrupted
"""


def recorded(target: Path, *signals: int, is_live: bool = True) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a recording that gets these signals, one after the other."""
    code = RECORDING.replace("LIVE", str(is_live))
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code, str(target)], **pipes) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        lines = []
        while len(lines) < 130:  # read on, or the pipe fills up
            lines.append(process.stdout.readline())
        for number in signals:
            process.send_signal(number)
            time.sleep(0.002)
        try:
            out, err = process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()  # or the end of the block would wait for it
            raise
        return process.returncode, "".join(lines) + out, err


def length_s(path: Path) -> float:
    source = open_source(path)
    try:
        return [frame.time_s for frame in source.frames()][-1]
    finally:
        source.close()


@pytest.mark.parametrize(
    ("signals", "code"),
    [
        pytest.param([signal.SIGTERM], 143, id="sigterm"),
        pytest.param([signal.SIGHUP], 129, id="sighup"),
        pytest.param([signal.SIGINT], -signal.SIGINT, id="ctrl-c"),
    ],
)
def test_a_signal_ends_a_recording_well(tmp_path: Path, signals: list[int], code: int) -> None:
    target = tmp_path / "drive.mp4"
    got, out, err = recorded(target, *signals)
    assert got == code
    frames, file = err.splitlines()[0].split()
    assert (int(frames) >= 130, file) == (True, str(target))
    assert [p.name for p in tmp_path.iterdir()] == [target.name]
    assert length_s(target) >= 2.4
    assert out.endswith("\n")
    assert [json.loads(line)["frame"] for line in out.splitlines()][:130] == list(range(130))


@pytest.mark.default_cases("signals2")
@pytest.mark.parametrize(
    "signals",
    [[signal.SIGINT, signal.SIGINT], [signal.SIGTERM] * 3, [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]],
)
def test_impatience_leaves_a_file_that_plays(tmp_path: Path, signals: list[int]) -> None:
    target = tmp_path / "drive.mp4"
    recorded(target, *signals)  # the exit code depends on when the last one comes
    assert [p.name for p in tmp_path.iterdir()] == ["drive.mp4"]
    assert length_s(target) >= 1.9


@pytest.mark.default_cases(".mp4")
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_killed_recording_plays_and_the_next_one_leaves_it(tmp_path: Path, suffix: str) -> None:
    target, part = tmp_path / f"drive{suffix}", tmp_path / f"drive.part{suffix}"
    assert recorded(target, signal.SIGKILL)[0] == -signal.SIGKILL
    assert [p.name for p in tmp_path.iterdir()] == [part.name]
    assert length_s(part) >= 0.9
    before = part.read_bytes()
    _, _, err = recorded(target, signal.SIGTERM)
    assert str(part) in err
    assert part.read_bytes() == before
    assert length_s(target) >= 2.4


def test_a_file_source_that_is_terminated_leaves_the_older_result(tmp_path: Path) -> None:
    (tmp_path / "drive.mp4").write_bytes(b"older")
    code, _, _ = recorded(tmp_path / "drive.mp4", signal.SIGTERM, is_live=False)
    assert code == 143
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"drive.mp4": b"older"}


#: How a block ends that gets signals while it is held, and what it did; arguments: the signals.
HELD = """
import os, sys
from runtime.interrupts import Interrupts, Terminated

done = []
with Interrupts() as interrupts:
    try:
        with interrupts.held():
            for number in map(int, sys.argv[1:]):
                os.kill(os.getpid(), number)
            done.append("written")
    except (KeyboardInterrupt, Terminated) as error:
        print(type(error).__name__, getattr(error, "code", ""), *done)
"""

#: A run whose gate waits when Ctrl-C comes; argument: the signal.
AT_THE_GATE = """
import signal, sys
import numpy as np
from edgestill.detections import Detections
from edgestill.spec import ModelSpec
from runtime.frames import Frame
from runtime.pipeline import Pipeline, Stream

class Detector:
    spec = ModelSpec(name="none", input_hw=(32, 32), classes=("a", "b"))
    def timed(self, image_bgr):
        return Detections.empty(), {}

class Clip:
    is_live, fps, total, dropped, drops, doubts, broke_off = False, 10.0, 8, 0, {}, (), None
    def frames(self):
        for i in range(8):
            image = np.zeros((32, 32, 3), np.uint8)
            yield Frame(image_bgr=image, index=i, captured_s=0.0, name="c", decode_ms=1.0, time_s=i / 10)

class Closed:
    def admits(self, source, *, is_live):
        signal.raise_signal(int(sys.argv[1]))
        return True

class Notes:
    needs_overlay = False
    def write(self, result, image_bgr):
        print("written")
        return True
    def close(self, *, complete):
        print("closed", complete)
        return ()

end = Pipeline(Detector(), sinks=[Notes()], gate=Closed()).run([Stream(source=Clip(), name="clip")])
print(type(end.interrupted).__name__)
"""

#: Signals after the first one, while files are closed.
CLOSING = """
import os, signal
from runtime.interrupts import Interrupts

with Interrupts() as interrupts:
    interrupts.ignore()
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGINT)
    print("closed", flush=True)
"""


def printed(code: str, *signals: int) -> str:
    """What a process prints that sends itself signals: no test signals the process that runs the tests."""
    command = [sys.executable, "-c", code, *map(str, map(int, signals))]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=60, check=True)
    return run.stdout.strip()


def test_a_held_signal_waits_for_the_end_of_the_block() -> None:
    assert printed(HELD, signal.SIGINT) == "KeyboardInterrupt  written"
    assert printed(HELD, signal.SIGHUP) == "Terminated 129 written"


def test_a_second_signal_does_not_wait() -> None:
    assert printed(HELD, signal.SIGINT, signal.SIGTERM) == "Terminated 143"


def test_signals_are_ignored_while_files_are_closed() -> None:
    assert printed(CLOSING) == "closed"


def test_a_run_that_waits_at_the_gate_can_be_interrupted() -> None:
    assert printed(AT_THE_GATE, signal.SIGINT).splitlines() == ["closed False", "KeyboardInterrupt"]
    assert printed(AT_THE_GATE, signal.SIGTERM).splitlines() == ["closed False", "Terminated"]


def test_handlers_of_the_program_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    def own(signum: int, frame: Any) -> None:
        pass

    before = signal.signal(signal.SIGHUP, own)
    try:
        with Interrupts():
            assert signal.getsignal(signal.SIGHUP) is own
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)
