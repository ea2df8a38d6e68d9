"""Image files as cameras, browsers and disks leave them."""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgestill.dataset import read_image
from edgestill.errors import DataError

Pixels = NDArray[np.uint8]


@pytest.fixture
def scene() -> Pixels:
    """A smooth image, uint8 ``[96, 128, 3]``, as a photograph is."""
    noise = np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8)
    smooth = cv2.GaussianBlur(noise, (0, 0), 3)
    return np.asarray(cv2.normalize(smooth, np.empty_like(smooth), 0, 255, cv2.NORM_MINMAX), np.uint8)


def encoded(image: NDArray[np.generic], suffix: str, *settings: int) -> bytes:
    return cv2.imencode(suffix, image, settings)[1].tobytes()


def read(folder: Path, data: bytes, name: str = "x.jpg") -> Pixels:
    (folder / name).write_bytes(data)
    return read_image(folder / name)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "a pointer of Git LFS"),
        (b"<!DOCTYPE html><p>404", "an HTML page"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC image"),
        (b"\0\x05\x16\x07\0\x02\0\0Mac OS X", "macOS metadata"),
    ],
)
def test_what_is_not_an_image_is_named(tmp_path: Path, data: bytes, what: str) -> None:
    with pytest.raises(DataError, match=f"is not an image that OpenCV can decode.*{what}"):
        read(tmp_path, data)


def test_damage_inside_a_png_is_named(
    tmp_path: Path, scene: Pixels, capfd: pytest.CaptureFixture[str]
) -> None:
    data = bytearray(encoded(scene, ".png"))
    data[len(data) // 2] ^= 255
    with pytest.raises(DataError, match="not an image that OpenCV can decode: libpng error"):
        read(tmp_path, bytes(data), "x.png")
    assert capfd.readouterr().err == ""


def test_a_header_of_more_pixels_than_opencv_allows_is_a_data_error(tmp_path: Path, scene: Pixels) -> None:
    data = bytearray(encoded(scene, ".bmp"))
    data[18:26] = (2**20).to_bytes(4, "little") * 2
    with pytest.raises(DataError, match="not an image that OpenCV can decode"):
        read(tmp_path, bytes(data), "x.bmp")


@pytest.mark.parametrize("bits", [10, 12])
@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("grey", [False, True])
def test_twelve_bits_in_sixteen_are_refused(
    tmp_path: Path, scene: Pixels, bits: int, suffix: str, *, grey: bool
) -> None:
    image = (scene[..., 0] if grey else scene).astype(np.uint16) << (bits - 8)
    with pytest.raises(DataError, match=f"holds {bits} bits in 16.*black in 8 bits"):
        read(tmp_path, encoded(image, suffix), f"x{suffix}")


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_sixteen_bits_that_are_used_become_eight(tmp_path: Path, scene: Pixels, suffix: str) -> None:
    data = encoded(scene.astype(np.uint16) * 257, suffix)
    np.testing.assert_array_equal(read(tmp_path, data, f"x{suffix}"), scene)
    black = encoded(np.zeros((8, 8), np.uint16), suffix)
    assert read(tmp_path, black, f"black{suffix}").max() == 0


@pytest.mark.parametrize("suffix", [".tif", ".png", ".bmp", ".webp"])
def test_the_content_counts_and_not_the_name(tmp_path: Path, scene: Pixels, suffix: str) -> None:
    lossless = (cv2.IMWRITE_WEBP_QUALITY, 101) if suffix == ".webp" else ()
    np.testing.assert_array_equal(read(tmp_path, encoded(scene, suffix, *lossless)), scene)


@pytest.mark.parametrize("mode", ["L", "P", "1", "LA", "CMYK", "I;16"])
def test_every_colour_mode_becomes_three_channels(tmp_path: Path, scene: Pixels, mode: str) -> None:
    image_module = pytest.importorskip("PIL.Image")
    stream = io.BytesIO()
    if mode == "I;16":
        picture = image_module.fromarray(scene[..., 0].astype(np.uint16) * 257)
    else:
        picture = image_module.fromarray(scene[..., ::-1]).convert(mode)
    picture.save(stream, "JPEG" if mode == "CMYK" else "PNG")
    found = read(tmp_path, stream.getvalue())
    assert found.shape == scene.shape
    if mode in ("P", "CMYK"):
        assert np.abs(found.astype(int) - scene).mean() < 30
    elif mode != "1":
        assert (found == found[..., :1]).all()


@pytest.mark.parametrize("name", ["x.jpg", "x.png"])
def test_the_orientation_of_the_camera_is_applied(tmp_path: Path, scene: Pixels, name: str) -> None:
    image_module = pytest.importorskip("PIL.Image")
    exif = image_module.Exif()
    exif[274] = 6
    image_module.fromarray(scene[..., ::-1]).save(tmp_path / name, exif=exif, quality=95)
    turned = np.rot90(scene, -1)
    found = read_image(tmp_path / name)
    assert found.shape == turned.shape
    assert np.abs(found.astype(int) - turned).mean() < 3
