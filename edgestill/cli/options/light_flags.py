"""``--lights`` and ``--light-class``: the states of the lights that any detector finds."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from edgestill.errors import UsageError
from edgestill.shipped import LIGHT_STATES, checkpoint_folder

if TYPE_CHECKING:
    from runtime.light_states.lights_of_detector import LightClassifier


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "--lights",
        nargs="?",
        const=Path(LIGHT_STATES),
        type=Path,
        metavar="FILE",
        help="only traffic lights, of any detector; their state is classified from the image, by FILE of "
        "`edgestill export light-states` (default: the shipped one)",
    )
    parser.add_argument(
        "--light-class", metavar="NAME", help="with --lights: the model's class (default: traffic light)"
    )


@contextmanager
def opened(args: argparse.Namespace) -> Iterator[LightClassifier | None]:
    """The classifier that the flags ask for, open while the block runs; None without ``--lights``.

    ``--backend`` is the detector's; the suffix of the classifier's file tells its own.

    Raises:
        ArtifactError: The file is missing, broken, or not a classifier of light states.
        UsageError: ``--light-class`` without ``--lights``.
    """
    if args.lights is None:
        if args.light_class is not None:
            raise UsageError("--light-class without --lights", hint="add --lights")
        yield None
        return
    from runtime.light_states.classifier import open_light_states  # noqa: PLC0415
    from runtime.light_states.lights_of_detector import LIGHT_CLASS, LightClassifier  # noqa: PLC0415

    file = checkpoint_folder(str(args.lights))
    # Of --device, as of --backend, the classifier takes what its file can use: an engine the same GPU.
    device = args.device if file.suffix == ".engine" else None
    classifier = open_light_states(file, device=device, threads=args.threads, trust_engine=args.trust_engine)
    try:
        yield LightClassifier(classifier, args.light_class or LIGHT_CLASS)
    finally:
        classifier.close()
