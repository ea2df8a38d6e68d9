"""Image files at the scale of the network's input, from memory, from the disk cache, or decoded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Lock

from distill.data.disk_cache import DiskCache, ScaledImage
from edgestill.dataset import read_image
from edgestill.progress import say
from edgestill.spec import ModelSpec
from runtime.letterbox import scale_to_fit


class ScaledImages(Sequence[ScaledImage]):
    """Image files, scaled as by the letterbox, without its border. Thread-safe.

    Images are read on access, and the first ones that fit are kept in memory. Memory, disk cache and decoder
    give the same pixels.

    Args:
        paths: The files.
        spec: Says the input size.
        name: Of the set of images, for messages.
        memory_mib: Budget of the memory cache.
        disk: The disk cache of the others, or None.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        spec: ModelSpec,
        *,
        name: str,
        memory_mib: int,
        disk: DiskCache | None = None,
    ) -> None:
        self._paths = [str(path) for path in paths]  # a fifth of the memory that Path objects take
        self._spec = spec
        self._name = name
        self._memory_mib = memory_mib
        self._disk = disk
        self._kept: dict[int, ScaledImage] = {}
        self._used = 0  # bytes
        self._is_full = False
        self._lock = Lock()
        if disk is not None:
            disk.mark_used(disk.key(path, spec.input_hw) for path in paths)

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> ScaledImage:  # type: ignore[override]  # no slices: one image each
        found = self._kept.get(index)
        if found is None:
            found = self._read(index)
            if not self._is_full:
                self._keep(index, found)
        return found

    def _read(self, index: int) -> ScaledImage:
        path = Path(self._paths[index])
        key = self._disk.key(path, self._spec.input_hw) if self._disk else None
        if self._disk is None or key is None:
            return decode(path, self._spec)
        found = self._disk.get(key)
        if found is None:
            found = decode(path, self._spec)
            self._disk.put(key, found)
        return found

    def _keep(self, index: int, scaled: ScaledImage) -> None:
        with self._lock:
            if self._used + scaled.image_bgr.nbytes <= self._memory_mib * 2**20:
                self._used += 0 if index in self._kept else scaled.image_bgr.nbytes
                self._kept[index] = scaled
            elif not self._is_full:
                self._is_full = True
                say(self._too_many(scaled))

    def _too_many(self, example: ScaledImage) -> str:
        """The message when the memory cache is full."""
        kept = f"{len(self._kept)} of {len(self)} {self._name} images fit into memory (cache_mib)"
        if self._disk is not None:
            return f"{kept}; the others are read from the disk cache"
        mib = -(-len(self) * example.image_bgr.nbytes // 2**20)
        return (
            f"{kept}; the others are decoded at every access: disk_cache_mib = {mib} would cache all on disk"
        )


def decode(path: Path, spec: ModelSpec) -> ScaledImage:
    """Decode an image file and scale it for an input.

    It is decoded at full size. OpenCV can decode a large JPEG to half its size in two thirds of the time, but
    the pixels would differ from those on a device.

    Raises:
        DataError: It is missing, truncated, or not an image.
    """
    image = read_image(path)
    return ScaledImage(scale_to_fit(image, spec.input_hw)[0], (image.shape[0], image.shape[1]))
