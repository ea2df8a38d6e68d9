"""Names of the files that belong to a frame, and folders that may be written into."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from edgestill.errors import UsageError
from edgestill.files import safe_file_name
from runtime.frames import Frame


def frame_path(frame: Frame, *, is_numbered: bool) -> Path:
    """The relative path of a frame's files, without a suffix.

    Args:
        frame: Of an image file, whose name is kept, with its folders where the name has some; or of a video.
        is_numbered: Whether the source is a video or camera: its frames differ in their index only.
    """
    scheme, separator, address = frame.name.partition("://")
    if separator:  # of a network camera: without user and password
        parts = [safe_file_name(f"{scheme}_{address.rpartition('@')[2]}")]
    else:
        parts = [part for part in PurePosixPath(frame.name).parts if part not in {"/", ".."}] or ["frame"]
        parts[-1] = PurePosixPath(parts[-1]).stem
    if is_numbered:
        return Path(f"{safe_file_name(parts[-1])}_{frame.index:06d}")
    return Path(*parts)


def refuse_full(folder: Path, *, force: bool) -> None:
    """Raise UsageError unless the folder is absent or empty, or ``force`` is true."""
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if folder.exists() and not (force and folder.is_dir()):
        what = "is not empty" if folder.is_dir() else "is a file"
        hint = (
            "choose another folder, or add --force to replace files in it"
            if folder.is_dir()
            else "name a folder"
        )
        raise UsageError(f"{folder} {what}", hint=hint)
