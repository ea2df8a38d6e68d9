"""Image files: one, a folder, or a glob pattern; sorted by name."""

from __future__ import annotations

from collections.abc import Iterator
from glob import glob
from pathlib import Path
from time import perf_counter

from edgestill.dataset import IMAGE_SUFFIXES, read_image
from edgestill.errors import DataError
from runtime.frames import Frame


class ImageFiles:
    """A list of image files; see ``runtime.frames.FrameSource``.

    Attributes:
        paths: The files, in the order of their frames.
    """

    is_live = False
    fps: float | None = None
    dropped = 0

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths
        self.total: int | None = len(paths)

    def frames(self) -> Iterator[Frame]:
        """Yield one frame for each file; DataError for a file that cannot be read."""
        first_s = perf_counter()
        for index, path in enumerate(self.paths):
            start = perf_counter()
            image = read_image(path)
            captured_s = perf_counter()
            yield Frame(
                image_bgr=image,
                index=index,
                captured_s=captured_s,
                name=path.name,
                decode_ms=(captured_s - start) * 1e3,
                time_s=start - first_s,
            )

    def close(self) -> None:
        """Do nothing: no file is open between two frames."""


def open_frames(text: str) -> ImageFiles:
    """List the images of a path, folder or glob pattern.

    Raises:
        DataError: There are none.
    """
    path = Path(text)
    if path.is_dir():
        found = list(path.iterdir())
    elif path.is_file():
        found = [path]
    else:
        found = [Path(name) for name in glob(text, recursive=True)]  # noqa: PTH207 (takes absolute patterns)
    images = sorted(p for p in found if p.is_file() and p.suffix.lower() in IMAGE_SUFFIXES)
    if not images:
        what = "holds no image" if path.is_dir() else "does not exist, and matches no image"
        raise DataError(f"{text} {what}", hint=f"images end in {', '.join(sorted(IMAGE_SUFFIXES))}")
    return ImageFiles(images)
