"""Image files at the scale of deployment: out of memory, off the disk cache, or decoded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Lock

from distill.data.disk_cache import DiskCache, Scaled
from edgestill.dataset import read_image
from edgestill.progress import say
from edgestill.spec import ModelSpec
from runtime.letterbox import scale_to_fit


class ScaledImages(Sequence[Scaled]):
    """Image files, scaled as the letterbox scales them, without its border. For any number of threads.

    Memory is filled by the first visits; nothing is read before it is asked for. All three ways give the same
    pixels.

    Args:
        paths: The files.
        spec: Says the input size.
        name: What they are, for messages.
        memory_mib: Memory for those that are kept.
        disk: Where the others are kept; None for nowhere.
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
        self._kept: dict[int, Scaled] = {}
        self._used = 0  # bytes
        self._is_full = False
        self._lock = Lock()
        if disk is not None:
            disk.adopt(disk.key(path, spec.input_hw) for path in paths)

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Scaled:  # type: ignore[override]  # no slices: one image each
        found = self._kept.get(index)
        if found is None:
            found = self._read(index)
            if not self._is_full:
                self._keep(index, found)
        return found

    def _read(self, index: int) -> Scaled:
        path = Path(self._paths[index])
        key = self._disk.key(path, self._spec.input_hw) if self._disk else None
        if self._disk is None or key is None:
            return decode(path, self._spec)
        found = self._disk.get(key)
        if found is None:
            found = decode(path, self._spec)
            self._disk.put(key, found)
        return found

    def _keep(self, index: int, scaled: Scaled) -> None:
        with self._lock:
            if self._used + scaled.image_bgr.nbytes <= self._memory_mib * 2**20:
                self._used += 0 if index in self._kept else scaled.image_bgr.nbytes
                self._kept[index] = scaled
            elif not self._is_full:
                self._is_full = True
                say(self._too_many(scaled))

    def _too_many(self, example: Scaled) -> str:
        """What a person reads when memory is full."""
        kept = f"{len(self._kept)} of {len(self)} {self._name} images fit into memory (cache_mib)"
        if self._disk is not None:
            return f"{kept}; the others come from the disk cache"
        mib = -(-len(self) * example.image_bgr.nbytes // 2**20)
        return f"{kept}; the others are decoded at every visit: disk_cache_mib = {mib} would keep all on disk"


def decode(path: Path, spec: ModelSpec) -> Scaled:
    """Decode an image file and scale it for an input.

    All of its pixels are decoded. OpenCV can decode a large JPEG to half its size in two thirds of the time,
    but to other pixels than a device sees.

    Raises:
        DataError: It is missing, truncated, or not an image.
    """
    image = read_image(path)
    return Scaled(scale_to_fit(image, spec.input_hw)[0], (image.shape[0], image.shape[1]))
