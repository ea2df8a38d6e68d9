"""Rendered scenes: deterministic, labelled exactly, and written whole or not at all."""

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import cv2
import numpy as np
import pytest

from distill.datasets.synth import write
from distill.datasets.synth.camera import Camera
from distill.datasets.synth.canvas import Canvas
from distill.datasets.synth.clip import render_clip, write_clip
from distill.datasets.synth.drive import Drive
from distill.datasets.synth.labels import MIN_SIDE_PX, visible
from distill.datasets.synth.lighting import Lighting
from distill.datasets.synth.lights.head_paint import SignalHead
from distill.datasets.synth.lights.heads import (
    CLASSES,
    GREEN,
    OFF,
    RED,
    YELLOW,
    HeadStyle,
    Lamp,
    pedestrian_lamps,
    sample_lamps,
)
from distill.datasets.synth.scene import Scene, render
from distill.datasets.synth.write import assign_splits, label_text, write_dataset
from edgestill.dataset import Dataset, read_image
from edgestill.errors import DataError, UsageError

SMALL = (320, 180)
STYLE = HeadStyle(
    horizontal=False,
    housing=(20, 20, 20),
    corner=0.1,
    lens=0.4,
    pitch=0.9,
    visor=0.0,
    visor_open=True,
    plate=0.0,
    plate_border=None,
    frame=None,
    unlit_grey=0.0,
    led=False,
    sheen=0.0,
    gain=1.0,
    power=1.0,
    white=0.0,
    tone=0,
)
NOON = Lighting(
    time="day",
    weather="clear",
    ambient=(1.0, 1.0, 1.0),
    sky_top=(250, 200, 150),
    sky_low=(250, 240, 230),
    cloud=0.0,
    haze=(220, 220, 220),
    haze_m=1e6,
    dark=0.0,
    wet=0.0,
    sun_xy=None,
)
CAMERA = Camera(size_wh=(400, 400), focal_xy=(500, 500), centre_x=200, horizon=200, eye=(0, 0, 0))


def lamps(state: int) -> tuple[Lamp, ...]:
    return tuple(Lamp(hue=name, lit=i == state) for i, name in enumerate(("red", "yellow", "green")))


def head(state: int = RED, **changes: object) -> SignalHead:
    """A head of 100 x 280 px at the middle of the picture, unless changed."""
    plain = SignalHead(x=0, y=0, z=5, size=1.0, style=STYLE, lamps=lamps(state), class_id=state)
    return replace(plain, **changes)  # type: ignore[arg-type]


def painted(*heads: SignalHead) -> Canvas:
    canvas = Canvas(np.full((400, 400, 3), 230, np.uint8))
    for one in heads:
        one.draw(canvas, CAMERA, NOON)
    return canvas


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [render(7, index, SMALL) for index in range(60)]


def test_a_scene_depends_on_seed_and_number_only() -> None:
    first = render(3, 41, SMALL)
    render(3, 42, SMALL)  # whatever was rendered in between leaves no trace
    again = render(3, 41, SMALL)
    np.testing.assert_array_equal(again.image_bgr, first.image_bgr)
    np.testing.assert_array_equal(again.xyxy, first.xyxy)
    np.testing.assert_array_equal(again.class_id, first.class_id)


def test_another_seed_is_another_scene() -> None:
    assert not np.array_equal(render(3, 41, SMALL).image_bgr, render(4, 41, SMALL).image_bgr)


@pytest.mark.default_cases("size_wh0")
@pytest.mark.parametrize("size_wh", [(64, 64), (333, 201), (200, 400)])
def test_any_size_can_be_rendered(size_wh: tuple[int, int]) -> None:
    for index in range(6):
        scene = render(1, index, size_wh)
        assert scene.image_bgr.shape == (size_wh[1], size_wh[0], 3)
        assert scene.image_bgr.dtype == np.uint8


def test_boxes_lie_in_the_picture_and_are_not_smaller_than_people_label(scenes: list[Scene]) -> None:
    boxes = np.concatenate([scene.xyxy for scene in scenes])
    assert len(boxes) > 40
    assert boxes.dtype == np.float32
    assert boxes.min() >= 0
    assert (boxes[:, 2:] <= SMALL).all()
    assert (boxes[:, 2:] - boxes[:, :2]).max(1).min() >= MIN_SIDE_PX * SMALL[0] / 640


def test_every_class_is_shown_often(scenes: list[Scene]) -> None:
    counts = np.bincount(np.concatenate([scene.class_id for scene in scenes]), minlength=len(CLASSES))
    assert counts.min() > 0.08 * counts.sum(), dict(zip(CLASSES, counts, strict=True))


def test_scenes_show_all_times_of_day_and_weathers(scenes: list[Scene]) -> None:
    tags = Counter(tag for scene in scenes for tag in scene.tags)
    assert {"day", "dusk", "night", "clear", "cloudy", "rain", "fog"} <= set(tags)


def test_some_scenes_show_no_light(scenes: list[Scene]) -> None:
    assert 3 <= sum(not len(scene.class_id) for scene in scenes) <= 20


@pytest.mark.parametrize(
    ("style", "changes"),
    [
        ({}, {}),
        ({}, {"tilt": 14.0}),
        ({"horizontal": True}, {}),
        ({"plate": 0.4}, {"tilt": -5.0}),
        ({"visor": 0.7}, {"yaw": 35.0}),
        ({"visor": 0.7, "visor_open": False}, {"yaw": -50.0}),
    ],
)
def test_the_box_is_the_outline_of_the_head(style: dict[str, object], changes: dict[str, object]) -> None:
    canvas = painted(head(z=14, style=replace(STYLE, **style), **changes))  # type: ignore[arg-type]
    _, boxes = visible(canvas)
    rows, columns = np.nonzero(canvas.image.max(2) < 125)  # more than half of the pixel is head
    drawn = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    np.testing.assert_allclose(boxes[0], drawn, atol=1.0)


@pytest.mark.parametrize("state", [RED, YELLOW, GREEN])
def test_the_lit_lamp_has_the_colour_of_its_class(state: int) -> None:
    canvas = painted(head(state))
    _, boxes = visible(canvas)
    x0, y0, x1, y1 = boxes[0]
    row = int(y0 + (y1 - y0) * (state + 0.5) / 3)
    blue, green, red = (int(v) for v in canvas.image[row, int((x0 + x1) / 2)])
    hue = {RED: red > 2 * green, YELLOW: red > green > 2 * blue, GREEN: green > 2 * red}
    assert hue[state], (blue, green, red)


def test_a_head_seen_in_part_is_boxed_as_far_as_it_is_seen() -> None:
    canvas = painted(head(GREEN))
    canvas.polygon(np.array([[0, 0], [400, 0], [400, 180], [0, 180]]), (90, 90, 90))
    class_id, boxes = visible(canvas)
    assert class_id.tolist() == [GREEN]
    assert boxes[0, 1] == pytest.approx(180, abs=1.5)


def test_a_head_that_leaves_the_picture_is_cut_at_its_edge() -> None:
    _, boxes = visible(painted(head(x=-1.9)))
    assert boxes[0, 0] == 0
    assert boxes[0, 2] < 70


@pytest.mark.parametrize(
    ("cover", "why"), [((0, 0, 400, 400), "hidden"), ((0, 0, 400, 165), "its lit lamp is hidden")]
)
def test_a_head_that_nobody_could_read_has_no_label(cover: tuple[int, int, int, int], why: str) -> None:
    canvas = painted(head(RED))
    x0, y0, x1, y1 = cover
    canvas.polygon(np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]), (90, 90, 90))
    assert len(visible(canvas)[0]) == 0, why


def test_a_nearer_head_hides_the_one_behind_it() -> None:
    class_id, _ = visible(painted(head(RED, z=6.0), head(GREEN, z=5.0)))
    assert class_id.tolist() == [GREEN]


@pytest.mark.parametrize(
    "other",
    [
        {"facing": "back"},
        {"facing": "side", "yaw": 10.0},
        {"class_id": None, "lamps": pedestrian_lamps(np.random.default_rng(0))},
    ],
)
def test_what_is_no_signal_for_this_driver_is_not_labelled(other: dict[str, Any]) -> None:
    canvas = painted(head(**other))
    assert (canvas.image != 230).any()
    assert len(visible(canvas)[0]) == 0


def test_a_head_of_few_pixels_is_not_labelled() -> None:
    assert len(visible(painted(head(z=700.0)))[0]) == 0


@pytest.mark.parametrize(
    ("state", "allowed"),
    [(RED, {"red", "yellow"}), (YELLOW, {"yellow"}), (GREEN, {"green"}), (OFF, set())],
)
def test_lamps_agree_with_the_state(state: int, allowed: set[str]) -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        lit = {lamp.hue for lamp in sample_lamps(rng, state) if lamp.lit}
        assert lit <= allowed
        assert state == OFF or CLASSES[state] in lit


def test_splits_follow_the_shares() -> None:
    assert Counter(assign_splits(40, (0.7, 0.2, 0.1))) == {"train": 28, "val": 8, "test": 4}


@pytest.mark.parametrize("images", [*range(3, 12), 13, 100])
@pytest.mark.parametrize(
    "shares", [(0.7, 0.15, 0.15), (0.98, 0.01, 0.01), (0.1, 0.0, 0.9), (0.0, 0.05, 0.95)]
)
def test_each_split_with_a_share_has_an_image(images: int, shares: tuple[float, ...]) -> None:
    splits = assign_splits(images, shares)
    assert len(splits) == images
    assert splits == sorted(splits, key=["train", "val", "test"].index)
    named = {split for split, share in zip(("train", "val", "test"), shares, strict=True) if share}
    assert set(splits) == named


@pytest.mark.parametrize(("images", "shares", "least"), [(2, (0.7, 0.15, 0.15), 3), (1, (0.9, 0.1, 0), 2)])
def test_fewer_images_than_splits_are_a_usage_error_that_says_how_many(
    tmp_path: Path, images: int, shares: tuple[float, ...], least: int
) -> None:
    with pytest.raises(UsageError, match=f"each of the {least} splits") as caught:
        write_dataset(tmp_path / "set", images, 0, size_wh=SMALL, shares=shares)
    assert caught.value.hint.startswith(f"--images {least}")
    assert not (tmp_path / "set").exists()


def test_a_written_data_set_reads_back_as_rendered(tmp_path: Path) -> None:
    written = write_dataset(tmp_path / "set", 6, 7, size_wh=SMALL, shares=(0.5, 0.5, 0), workers=1)
    dataset = Dataset.open(written.data_yaml)
    assert dataset.classes == CLASSES
    images = [*dataset.images("train"), *dataset.images("val")]
    assert written.images == {"train": 3, "val": 3, "test": 0}
    named = [written.data_yaml, *(path for folder in written.folders for path in folder.iterdir())]
    assert sorted(named) == sorted(path for path in (tmp_path / "set").rglob("*") if path.is_file())
    for index, path in enumerate(images):
        scene = render(7, index, SMALL)
        assert read_image(path).shape == scene.image_bgr.shape
        labels = dataset.labels(path)
        assert labels.class_id.tolist() == scene.class_id.tolist()
        np.testing.assert_allclose(labels.xyxy_px((SMALL[1], SMALL[0])), scene.xyxy, atol=1e-3)


@pytest.mark.slow
def test_processes_write_the_same_bytes_as_one(tmp_path: Path) -> None:
    for name, workers in (("one", 1), ("two", 2)):
        write_dataset(tmp_path / name, 8, 5, size_wh=(160, 90), workers=workers)
    ours = {p.relative_to(tmp_path / "one"): p.read_bytes() for p in (tmp_path / "one").rglob("*.*")}
    theirs = {p.relative_to(tmp_path / "two"): p.read_bytes() for p in (tmp_path / "two").rglob("*.*")}
    assert len(ours) == 17  # pictures, labels, data.yaml
    assert theirs == ours


def test_an_existing_folder_is_kept(tmp_path: Path) -> None:
    write_dataset(tmp_path / "set", 3, 0, size_wh=SMALL)
    with pytest.raises(UsageError, match="exists already"):
        write_dataset(tmp_path / "set", 4, 0, size_wh=SMALL)
    assert len(list((tmp_path / "set").rglob("*.jpg"))) == 3


def test_force_replaces_a_data_set(tmp_path: Path) -> None:
    write_dataset(tmp_path / "set", 4, 0, size_wh=SMALL)
    write_dataset(tmp_path / "set", 3, 0, size_wh=SMALL, force=True)
    assert len(list((tmp_path / "set").rglob("*.jpg"))) == 3


def test_force_does_not_delete_a_folder_that_is_no_data_set(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work", "utf-8")
    with pytest.raises(UsageError, match="is not a data set"):
        write_dataset(tmp_path, 3, 0, size_wh=SMALL, force=True)
    assert (tmp_path / "thesis.txt").exists()


def test_a_failed_run_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> Scene:
        raise DataError("no", hint="no")

    monkeypatch.setattr(write, "render", fail)
    with pytest.raises(DataError):
        write_dataset(tmp_path / "set", 3, 0, size_wh=SMALL)
    assert list(tmp_path.iterdir()) == []


def test_a_label_file_has_a_row_for_each_light() -> None:
    scene = Scene(
        image_bgr=np.zeros((100, 200, 3), np.uint8),
        class_id=np.array([2], np.int64),
        xyxy=np.array([[50, 20, 70, 60]], np.float32),
        tags=("street", "day", "clear"),
    )
    assert label_text(scene) == "2 0.300000 0.400000 0.100000 0.400000\n"


def test_signals_of_a_drive_go_from_red_to_green_to_yellow_to_red() -> None:
    drive = Drive.sample(np.random.default_rng(0), SMALL, 8)
    states = [drive.approaches[0].state(t) for t in np.arange(0, 8, 0.1)]
    changes = [states[0], *(b for a, b in pairwise(states) if a != b)]
    assert changes == [RED, GREEN, YELLOW, RED]


def test_the_camera_never_drives_backwards_nor_through_a_red_light() -> None:
    drive = Drive.sample(np.random.default_rng(1), SMALL, 20)
    places = drive.positions(300, 15)
    assert min(np.diff(places)) >= 0
    for approach in drive.approaches:
        passed = next((i for i, z in enumerate(places) if z > approach.stop), None)
        assert passed is None or approach.state(passed / 15) != RED


@pytest.fixture(scope="module")
def clip() -> list[Scene]:
    return list(render_clip(6, 3, SMALL, seed=0))


def test_a_clip_shows_several_states(clip: list[Scene]) -> None:
    assert {RED, YELLOW, GREEN} <= {int(c) for scene in clip for c in scene.class_id}


def test_lights_of_a_clip_grow_as_the_camera_comes_nearer(clip: list[Scene]) -> None:
    tallest = [float((s.xyxy[:, 3] - s.xyxy[:, 1]).max()) for s in clip if len(s.xyxy)]
    assert max(tallest) > 2 * tallest[0]


def test_a_light_has_one_number_in_all_frames_of_a_clip(clip: list[Scene]) -> None:
    numbers = [scene.number.tolist() for scene in clip if scene.number is not None]
    assert len(numbers) == len(clip)
    assert all(len(set(row)) == len(row) == len(scene.xyxy) for row, scene in zip(numbers, clip, strict=True))
    tallest = [row[int(np.argmax(s.xyxy[:, 3] - s.xyxy[:, 1]))] for row, s in zip(numbers, clip, strict=True)]
    assert len(set(tallest)) < len(tallest) / 2  # the nearest light stays the nearest for some frames


def test_the_same_seed_gives_the_same_clip(clip: list[Scene]) -> None:
    again = next(render_clip(6, 3, SMALL, seed=0))
    np.testing.assert_array_equal(again.image_bgr, clip[0].image_bgr)
    np.testing.assert_array_equal(again.xyxy, clip[0].xyxy)


def test_a_written_clip_has_as_many_frames_as_its_labels(tmp_path: Path) -> None:
    written = write_clip(tmp_path / "drive.mp4", seconds=0.4, fps=10, size_wh=(160, 90))
    video = cv2.VideoCapture(str(written.video))
    frames = 0
    while video.read()[0]:
        frames += 1
    assert frames == written.frames == 4
    assert written.labels == tmp_path / "drive.gt.json"
    truth = json.loads(written.labels.read_text("utf-8"))
    assert [len(ids) for ids in truth["ids"].values()] == [len(rows) for rows in truth["frames"].values()]


def test_rendering_needs_no_torch() -> None:
    modules = "distill.datasets.synth.write, distill.datasets.synth.clip, distill.datasets.check"
    code = f"import sys, {modules}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "ultralytics"} & set(done.stdout.split())


def _alive(pid: str) -> bool:
    """Whether a process runs; a zombie has no command line."""
    try:
        return bool(Path("/proc", pid, "cmdline").read_bytes())
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="reads the processes from /proc")
@pytest.mark.slow
def test_the_workers_end_when_the_parent_is_killed(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path\nfrom distill.datasets.synth.write import write_dataset\n"
        f"write_dataset(Path({str(tmp_path / 'set')!r}), 2000, 0, size_wh=(160, 90), workers=2)"
    )
    deadline = monotonic() + 100
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL) as parent:
        children = Path("/proc", str(parent.pid), "task", str(parent.pid), "children")
        try:
            while not any(tmp_path.rglob("*.txt")):
                assert parent.poll() is None
                assert monotonic() < deadline
                sleep(0.05)
            workers = children.read_text().split()
        finally:
            parent.kill()
    assert len(workers) >= 2
    while any(_alive(pid) for pid in workers):
        assert monotonic() < deadline
        sleep(0.05)
