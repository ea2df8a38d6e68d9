"""Image files: one, a folder, or a glob pattern; sorted by name."""

from __future__ import annotations

from collections.abc import Iterator
from glob import glob
from pathlib import Path
from time import perf_counter

from edgestill.dataset import IMAGE_SUFFIXES, read_image
from edgestill.dataset_files.image_folder import is_hidden
from edgestill.errors import DataError
from runtime.frames import Frame


class ImageFiles:
    """A list of image files; see ``runtime.frames.FrameSource``."""

    is_live = False
    fps: float | None = None
    dropped = 0

    def __init__(self, paths: list[Path]) -> None:
        self._paths = paths
        self.total: int | None = len(paths)

    def frames(self) -> Iterator[Frame]:
        """Yield one frame for each file; DataError for a file that cannot be read."""
        first_s = perf_counter()
        for index, path in enumerate(self._paths):
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
    """List the images of a path, folder or glob pattern; hidden files only if one is named itself.

    Raises:
        DataError: There are none.
    """
    path = Path(text)
    if path.is_dir():
        found = [p for p in path.iterdir() if not is_hidden(p.name)]
    elif path.is_file():
        found = [path]
    else:
        found = _matches(text)
    images = sorted(p for p in found if p.is_file() and p.suffix.lower() in IMAGE_SUFFIXES)
    if not images:
        what = "holds no image" if path.is_dir() else "does not exist, and matches no image"
        raise DataError(f"{text} {what}", hint=f"images end in {', '.join(sorted(IMAGE_SUFFIXES))}")
    return ImageFiles(images)


def _matches(pattern: str) -> list[Path]:
    """The files that a glob pattern matches, without those whose matched part is hidden."""
    paths = [Path(name) for name in glob(pattern, recursive=True)]  # noqa: PTH207 (takes absolute patterns)
    parts = Path(pattern).parts
    written = next((i for i, part in enumerate(parts) if set(part) & set("*?[")), 0)
    return [path for path in paths if not any(map(is_hidden, path.parts[written:]))]
