"""``--lights`` and ``--light-class``: the states of the lights that any detector finds."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from edgestill.errors import UsageError

if TYPE_CHECKING:
    from runtime.light_states.lights_of_detector import LightClassifier


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "--lights",
        action="store_true",
        help="only traffic lights, of any detector; their state is classified from the image",
    )
    parser.add_argument(
        "--light-class", metavar="NAME", help="with --lights: the model's class (default: traffic light)"
    )


@contextmanager
def opened(args: argparse.Namespace) -> Iterator[LightClassifier | None]:
    """The classifier that the flags ask for, open while the block runs; None without ``--lights``.

    Raises:
        UsageError: ``--light-class`` without ``--lights``.
    """
    if not args.lights:
        if args.light_class is not None:
            raise UsageError("--light-class without --lights", hint="add --lights")
        yield None
        return
    from runtime.light_states.classifier import open_light_states  # noqa: PLC0415
    from runtime.light_states.lights_of_detector import LIGHT_CLASS, LightClassifier  # noqa: PLC0415

    classifier = open_light_states(threads=args.threads)
    try:
        yield LightClassifier(classifier, args.light_class or LIGHT_CLASS)
    finally:
        classifier.close()
