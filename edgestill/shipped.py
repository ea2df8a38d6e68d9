"""The weights that are part of the installation, by name: ``student``, ``teacher`` and ``light-states``."""

from __future__ import annotations

from pathlib import Path

from edgestill.errors import closest

SHIPPED = Path(__file__).parent / "weights"
NAMES = ("student", "teacher")  # checkpoints of detectors
LIGHT_STATES = "light-states"  # the classifier of light states, an ONNX file


def checkpoint_folder(name: str) -> Path:
    """The checkpoint or file that a name or a path of the command line, of a recipe or of a study means.

    A file or folder of that name in the working directory wins over the shipped one: ``student`` is
    ``./student`` where that exists.

    Args:
        name: ``student``, ``teacher``, ``light-states``, or the path of anything else, which need not exist.
    """
    path = Path(name)
    if path.exists() or name not in {*NAMES, LIGHT_STATES}:
        return path
    return SHIPPED / (f"{name}.onnx" if name == LIGHT_STATES else name)


def hint_for_missing(path: Path, otherwise: str) -> str:
    """The hint for a model that is not there: a shipped one or a neighbour of almost that name.

    Args:
        path: What was asked for.
        otherwise: The hint if nothing there is called almost so.
    """
    if path.exists():
        return otherwise
    try:
        neighbours = [str(path.with_name(one.name)) for one in path.parent.iterdir()]
    except OSError:
        neighbours = []
    close = closest(str(path), [*NAMES, LIGHT_STATES, *neighbours])
    return f"did you mean {close!r}?" if close else otherwise
