"""Damage inside a JPEG, and what only looks like it."""

import io
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgestill.dataset import read_image
from edgestill.errors import DataError

END = b"\xff\xd9"
PROGRESSIVE = (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
RESTARTS = (cv2.IMWRITE_JPEG_RST_INTERVAL, 8)
OPTIMISED = (cv2.IMWRITE_JPEG_OPTIMIZE, 1)
KINDS = {"plain": (), "progressive": PROGRESSIVE, "restarts": RESTARTS, "optimised": OPTIMISED}


def photograph(*settings: int, flat_rows: int = 0) -> bytes:
    """A JPEG of a smooth image, its last rows of one colour."""
    noise = np.random.default_rng(3).integers(0, 255, (240, 320, 3), np.uint8)
    image = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), np.empty_like(noise), 0, 255, cv2.NORM_MINMAX)
    image[len(image) - flat_rows :] = (40, 90, 200)
    return cv2.imencode(".jpg", image, settings)[1].tobytes()


def hole(data: bytes, start: float, length: int, fill: bytes) -> bytes:
    place = int(len(data) * start)
    return data[:place] + (fill * length)[:length] + data[place + length :]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "zeros-in-the-middle": lambda data: hole(data, 0.5, 600, b"\0"),
    "zeros-early": lambda data: hole(data, 0.3, 2000, b"\0"),
    "zeros-to-the-end": lambda data: data[: len(data) // 2] + bytes(len(data) // 2 - 2) + END,
    "another-file": lambda data: hole(data, 0.5, 1000, bytes(range(1, 200))),
    "erased-flash": lambda data: hole(data, 0.6, 500, b"\xff"),
    "a-part-is-missing": lambda data: data[: len(data) // 2] + data[len(data) // 2 + 1500 :],
    "a-part-is-there-twice": lambda data: data[: len(data) // 2] + data[len(data) // 2 - 1500 :],
    "cut-with-an-end-marker": lambda data: data[: len(data) * 2 // 3] + END,
}


@pytest.mark.parametrize("kind", ["plain", "optimised"])
@pytest.mark.parametrize("name", DAMAGE)
def test_damage_inside_is_refused(
    tmp_path: Path, name: str, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.jpg").write_bytes(DAMAGE[name](photograph(*KINDS[kind])))
    with pytest.raises(DataError, match=r"x\.jpg is damaged inside: \w"):
        read_image(tmp_path / "x.jpg")
    assert capfd.readouterr().err == ""  # the message is in the error


@pytest.mark.parametrize("kind", ["progressive", "restarts"])
def test_damage_inside_other_kinds_of_jpeg_is_refused(tmp_path: Path, kind: str) -> None:
    (tmp_path / "x.jpg").write_bytes(DAMAGE["zeros-early"](photograph(*KINDS[kind])))
    with pytest.raises(DataError, match="is damaged inside"):
        read_image(tmp_path / "x.jpg")


def test_a_file_sent_as_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(photograph().replace(b"\n", b"\r\n"))
    with pytest.raises(DataError, match=r"damaged inside|not an image"):
        read_image(tmp_path / "x.jpg")


def segment(marker: int, content: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(content) + 2).to_bytes(2, "big") + content


GOOD: dict[str, Callable[[bytes], bytes]] = {
    "as-written": lambda data: data,
    "padding-after-the-end": lambda data: data + bytes(5000),
    "a-film-after-the-end": lambda data: data + b"\0\0\0\x18ftypmp42" + bytes(range(200)) * 30,
    "another-jpeg-after-the-end": lambda data: data + data,
    "fill-before-the-end": lambda data: data[:-2] + bytes(300) + END,
    "fill-bytes-before-the-end": lambda data: data[:-2] + b"\xff" * 100 + END,
    "a-byte-too-many": lambda data: data[:-2] + b"\x7f" + END,
    "zeros-in-the-header": lambda data: data[:2] + segment(0xE5, bytes(500)) + data[2:],
    "a-thumbnail-in-the-header": lambda data: (
        data[:2] + segment(0xE1, b"Exif\0\0" + data[:900] + END) + data[2:]
    ),
    "junk-between-headers": lambda data: data[:2] + segment(0xFE, b"a comment") + b"junk" + data[2:],
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", GOOD)
def test_a_good_jpeg_is_read(tmp_path: Path, name: str, kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    data = photograph(*KINDS[kind])
    (tmp_path / "x.jpg").write_bytes(GOOD[name](data))
    found = read_image(tmp_path / "x.jpg")
    np.testing.assert_array_equal(found, cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_flat_picture_is_good(tmp_path: Path, kind: str, value: int) -> None:
    flat = np.full((200, 300, 3), value, np.uint8)
    (tmp_path / "x.jpg").write_bytes(cv2.imencode(".jpg", flat, KINDS[kind])[1].tobytes())
    np.testing.assert_array_equal(read_image(tmp_path / "x.jpg"), flat)
    (tmp_path / "y.jpg").write_bytes(photograph(*KINDS[kind], flat_rows=120))
    read_image(tmp_path / "y.jpg")


def test_a_film_after_a_truncated_picture_does_not_make_it_whole(tmp_path: Path) -> None:
    data = photograph()
    (tmp_path / "x.jpg").write_bytes(data[: len(data) // 2] + b"\0" * 2000)
    with pytest.raises(DataError, match="is truncated"):
        read_image(tmp_path / "x.jpg")


def test_of_images_that_are_read_at_once_the_damaged_ones_are_named(tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.jpg" for i in range(48)]
    for i, path in enumerate(paths):
        path.write_bytes(DAMAGE["zeros-in-the-middle"](photograph()) if i % 5 == 0 else photograph())

    def is_damaged(path: Path) -> bool:
        try:
            read_image(path)
        except DataError:
            return True
        return False

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(is_damaged, paths))
    assert found == [i % 5 == 0 for i in range(48)]


def test_what_others_print_meanwhile_is_passed_on(capfd: pytest.CaptureFixture[str]) -> None:
    import ctypes

    from edgestill.dataset_files import decoder_messages

    listener = decoder_messages._LISTENER
    if listener is None:
        pytest.skip("the C library's stderr can only be read with glibc")
    listener._enter()
    libc = ctypes.CDLL(None)
    libc.perror(b"a line of another library")
    listener._leave()
    assert "a line of another library" in capfd.readouterr().err


def test_the_messages_of_the_decoder_are_not_lost_to_pillow_files(tmp_path: Path) -> None:
    image_module = pytest.importorskip("PIL.Image")
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    image_module.fromarray(noise).save(stream, "JPEG", quality=90, subsampling=0)
    (tmp_path / "x.jpg").write_bytes(hole(stream.getvalue(), 0.5, 800, b"\0"))
    with pytest.raises(DataError, match="is damaged inside"):
        read_image(tmp_path / "x.jpg")


FORKS = """
import os, sys
from pathlib import Path
from edgestill.dataset import read_image
from edgestill.errors import DataError

good, bad = map(Path, sys.argv[1:])
read_image(good)
child = os.fork()
try:
    read_image(good)
    if not child:
        read_image(bad)
except DataError as error:
    print("parent" if child else "child", error.what)
if child:
    os.waitpid(child, 0)
    read_image(good)
    print("parent read both")
"""


def test_a_forked_process_hears_its_own_decoder_alone(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.jpg", tmp_path / "bad.jpg"
    good.write_bytes(photograph())
    bad.write_bytes(DAMAGE["zeros-in-the-middle"](photograph()))
    command = [sys.executable, "-W", "ignore", "-u", "-c", FORKS, str(good), str(bad)]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert out[-1] == "parent read both"
    assert len(out) == 2
    assert out[0].startswith(f"child {bad} is damaged inside")
