"""Messages for a source that is not there, or is something else."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from edgestill.dataset import IMAGE_SUFFIXES
from edgestill.errors import DataError

MODEL_SUFFIXES = frozenset({".onnx", ".xml", ".engine", ".pt", ".pth", ".safetensors"})
IMAGES_END_IN = f"images end in {', '.join(sorted(IMAGE_SUFFIXES))}"
NAMES_SHOWN = 3


def missing_source(text: str) -> DataError:
    """The error for a path that is not there, with names that are like it."""
    path = Path(text)
    folder = path.parent
    if path.is_char_device():
        return DataError(f"{text} is a device", hint=f"a camera is v4l2://{path.absolute()}, or its number")
    if not folder.is_dir():
        gone = folder
        while not gone.parent.is_dir():
            gone = gone.parent
        return DataError(f"{text} does not exist: there is no folder {gone}", hint=_near(gone))
    return DataError(f"{text} does not exist", hint=_near(path))


def refuse_model(path: Path) -> None:
    """Raise DataError if a file or folder is a model, which is the first argument of ``edgestill run``."""
    is_checkpoint = path.is_dir() and any(p.suffix in MODEL_SUFFIXES for p in path.iterdir())
    if is_checkpoint or path.suffix.lower() in MODEL_SUFFIXES:
        raise DataError(
            f"{path} is a model, not a source of frames",
            hint="the model comes first, e.g. edgestill run student --source street.jpg",
        )


def no_images(folder: Path) -> DataError:
    """The error for a folder without images."""
    inside = [p for p in folder.iterdir() if not p.name.startswith(".")]
    below = sorted(p.name for p in inside if p.is_dir())
    what = f"{folder} holds no image"
    if below:
        also = f"; it has the folders {', '.join(below[:NAMES_SHOWN])}"
        return DataError(what + also, hint=f"name one of them, or use '{folder}/**/*.jpg'")
    ends = sorted({p.suffix or p.name for p in inside})
    also = f", but files that end in {', '.join(ends[:NAMES_SHOWN])}" if ends else ""
    return DataError(what + also, hint=IMAGES_END_IN)


def _near(path: Path) -> str:
    """The hint for a name that is not in its folder."""
    names = [p.name for p in path.parent.iterdir()]
    close = get_close_matches(path.name, names, n=NAMES_SHOWN, cutoff=0.6)
    if not close:  # also names that differ in upper and lower case, or in the suffix
        close = [n for n in names if Path(n).stem.lower() == path.stem.lower()][:NAMES_SHOWN]
    if close:
        return f"did you mean {' or '.join(str(path.with_name(name)) for name in sorted(close))}?"
    shown = ", ".join(sorted(n for n in names if not n.startswith("."))[:NAMES_SHOWN])
    more = ", ..." if len(names) > NAMES_SHOWN else ""
    return f"{path.parent.absolute()} holds {shown or 'nothing'}{more}"
