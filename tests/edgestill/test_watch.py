"""``edgestill.watch``: what it yields, when it closes its cameras, and threads."""

from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Condition, Event, Thread, active_count
from typing import Any

import cv2
import numpy as np
import pytest

import edgestill
from edgestill.errors import ArtifactError, DataError, DeviceError, UsageError
from runtime.frames import Frame, open_source


class Camera:
    """Sends a number of frames, each when it is asked for one; then it waits until it is closed, or fails."""

    is_live, fps, total, dropped, doubts, broke_off = True, 10.0, None, 0, (), None

    def __init__(self, frames: int = 10**9, *, waits: bool = False) -> None:
        self.closed = 0
        self.waiting = Event()
        self.drops: dict[str, int] = {}
        self._frames, self._waits = frames, waits
        self._changed = Condition()

    def frames(self) -> Iterator[Frame]:
        for i in range(self._frames):
            image = np.full((32, 32, 3), 90, np.uint8)
            yield Frame(image_bgr=image, index=i, captured_s=0.0, name="cam", decode_ms=1.0, time_s=i / 10)
        self.waiting.set()
        with self._changed:
            self._changed.wait_for(lambda: self.closed or not self._waits)
        raise DeviceError("cam stopped sending", hint="check the cable")

    def close(self) -> None:
        with self._changed:
            self.closed += 1
            self._changed.notify_all()


@pytest.fixture
def watch(tiny_model: Path) -> Callable[..., edgestill.Watcher]:
    """``edgestill.watch`` with the tiny model."""

    def call(*sources: str | Path, **options: Any) -> edgestill.Watcher:
        return edgestill.watch(*sources, model=tiny_model, threads=1, **options)

    return call


@pytest.fixture
def cameras(monkeypatch: pytest.MonkeyPatch) -> list[Camera]:
    """The cameras behind ``csi://0``, ``csi://1``, ...; tests put them in."""
    found: list[Camera] = []

    def opened(text: str) -> Any:
        return found[int(text[-1])] if text.startswith("csi://") else open_source(text)

    monkeypatch.setattr("edgestill.demo.watching.open_source", opened)
    return found


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "drive.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 5, (64, 64))
    for i in range(6):
        writer.write(np.full((64, 64, 3), 10 * i, np.uint8))
    writer.release()
    return path


def test_results_have_plain_values(watch: Any, clip: Path) -> None:
    results = list(watch(clip))
    assert [result.frame.index for result in results] == list(range(6))
    assert {result.source for result in results} == {"drive.mp4"}
    (found,) = results[-1].found()
    assert (found.name, round(found.score, 2), found.track_id, found.state) == ("red", 0.81, 1, "red")
    assert found.box == (24.0, 16.0, 40.0, 48.0)
    (first,) = results[0].found()
    assert first.state == "unknown"


def test_without_tracking_there_are_boxes_alone(watch: Any, clip: Path) -> None:
    (found,) = list(watch(clip, track=False))[-1].found()
    assert (found.track_id, found.state) == (None, None)


def test_lights_of_a_detector_get_states_from_their_pixels(watch: Any, clip: Path) -> None:
    with watch(clip, lights=True) as watcher:
        assert "unknown" in watcher.classes
        assert all(found.name in watcher.classes for result in watcher for found in result.found())


def test_several_sources_have_names_and_tracks_of_their_own(watch: Any, clip: Path, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    other = tmp_path / "b" / "drive.mp4"
    other.write_bytes(clip.read_bytes())
    results = list(watch(clip, other))
    for name in ("drive.mp4", "drive-2.mp4"):
        own = [result for result in results if result.source == name]
        assert [result.frame.index for result in own] == list(range(6))
        assert own[-1].found()[0].track_id == 1


def test_a_camera_is_closed_after_break(watch: Any, cameras: list[Camera]) -> None:
    cameras.append(Camera())
    for result in watch("csi://0"):
        if result.frame.index == 3:
            break
    assert cameras[0].closed


def test_a_camera_is_closed_after_an_error_in_the_loop(watch: Any, cameras: list[Camera]) -> None:
    cameras.append(Camera())

    def look() -> None:
        for _ in watch("csi://0"):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        look()
    assert cameras[0].closed


def test_a_camera_is_closed_at_the_end_of_a_with_block(watch: Any, cameras: list[Camera]) -> None:
    cameras.append(Camera())
    with watch("csi://0") as watcher:
        assert next(watcher).source == "csi0"
        assert cameras[0].closed == 0
    assert cameras[0].closed
    assert list(watcher) == []
    watcher.close()


def test_a_watcher_that_was_never_asked_closes_its_camera(watch: Any, cameras: list[Camera]) -> None:
    cameras.append(Camera())
    watcher = watch("csi://0")
    del watcher
    assert cameras[0].closed


def test_files_and_threads_are_closed_at_the_end(watch: Any, clip: Path) -> None:
    before = active_count()
    watcher = watch(clip, clip)
    next(watcher)
    watcher.close()
    assert list(watch(clip))
    assert active_count() == before


def test_a_camera_that_is_gone_is_an_error_and_closed(watch: Any, cameras: list[Camera]) -> None:
    cameras.append(Camera(2))
    watcher = watch("csi://0")
    assert [next(watcher).frame.index for _ in range(2)] == [0, 1]
    with pytest.raises(DeviceError, match="cam stopped sending"):
        next(watcher)
    assert cameras[0].closed
    assert list(watcher) == []


def test_of_several_sources_one_that_is_gone_leaves_the_others(
    watch: Any, cameras: list[Camera], clip: Path
) -> None:
    cameras.append(Camera(0))
    watcher = watch("csi://0", clip)
    came = [next(watcher).source for _ in range(6)]
    assert came == ["drive.mp4"] * 6
    with pytest.raises(DeviceError, match="cam stopped sending"):
        next(watcher)
    assert list(watcher.errors) == ["csi0"]


def test_a_source_that_does_not_open_closes_those_before_it(
    watch: Any, cameras: list[Camera], tmp_path: Path
) -> None:
    cameras.append(Camera())
    with pytest.raises(DataError, match=r"no\.mp4"):
        watch("csi://0", tmp_path / "no.mp4")
    assert cameras[0].closed


def test_wrong_arguments_have_the_errors_of_the_command_line(watch: Any, clip: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no source to watch"):
        watch()
    with pytest.raises(UsageError, match="COLUMNSxROWS"):
        watch(clip, tile="big")
    with pytest.raises(ArtifactError):
        edgestill.watch(clip, model=tmp_path / "no.onnx")


def boxes(watcher: edgestill.Watcher) -> list[Any]:
    return [
        (r.frame.index, r.detections.xyxy.tolist(), None if r.track_id is None else r.track_id.tolist())
        for r in watcher
    ]


def test_watchers_in_threads_find_what_one_finds(watch: Any, clip: Path) -> None:
    right = boxes(watch(clip))
    found: dict[int, list[Any]] = {}
    threads = [Thread(target=lambda i=i: found.update({i: boxes(watch(clip))})) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == dict.fromkeys(range(4), right)


def waiting_watcher(watch: Any, camera: Camera) -> tuple[edgestill.Watcher, Thread, list[Any]]:
    """A watcher, a thread that waits in it for a camera, and how that thread's loop ended."""
    watcher = watch("csi://0")
    outcome: list[Any] = []

    def look() -> None:
        try:
            outcome.append(len(list(watcher)))
        except Exception as error:
            outcome.append(error)

    thread = Thread(target=look)
    thread.start()
    camera.waiting.wait()
    return watcher, thread, outcome


def test_two_threads_may_not_use_one_watcher_at_once(watch: Any, cameras: list[Camera]) -> None:
    cameras.append(Camera(1, waits=True))
    watcher, thread, outcome = waiting_watcher(watch, cameras[0])
    with pytest.raises(UsageError, match="two threads use one watcher"):
        next(watcher)
    assert thread.is_alive()  # nothing was taken from it
    watcher.close()
    thread.join()
    assert outcome == [1]


@pytest.mark.parametrize("number", [1, 2])
def test_a_thread_may_end_the_waiting_of_another(watch: Any, cameras: list[Camera], number: int) -> None:
    cameras += [Camera(1, waits=True) for _ in range(number)]
    watcher = watch(*(f"csi://{i}" for i in range(number)))
    outcome: list[int] = []
    thread = Thread(target=lambda: outcome.append(len(list(watcher))))
    thread.start()
    for camera in cameras:
        camera.waiting.wait()
    watcher.close()
    thread.join()
    assert len(outcome) == 1
    assert all(camera.closed for camera in cameras)
