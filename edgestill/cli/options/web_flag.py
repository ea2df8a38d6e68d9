"""``--web``: the web view of a run."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgestill import __version__
from edgestill.errors import EXTRA_OF, missing_library

if TYPE_CHECKING:
    from edgestill.demo.web.web_view import WebView
    from runtime.detector import ModelDetector
    from runtime.frames import FrameSource
    from runtime.pipeline import Gate, Sink


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What a web view adds to a pipeline: nothing without ``--web``.

    Attributes:
        sinks: Receivers of the results.
        gate: The pause button.
    """

    sinks: tuple[Sink, ...] = ()
    gate: Gate | None = None


def add_argument(parser: argparse.ArgumentParser) -> None:
    """Declare the flag."""
    parser.add_argument(
        "--web",
        metavar="[HOST:]PORT",
        help="show the run in a browser: 8080 on this machine alone, 0.0.0.0:8080 in the network, by a token",
    )


@contextmanager
def opened(args: argparse.Namespace) -> Iterator[WebView | None]:
    """The port of ``--web``, open while the block runs; None without the flag.

    Raises:
        UsageError: The text is no address, or the port cannot be had.
        DeviceError: A library of the extra ``web`` is not installed.
    """
    if args.web is None:
        yield None
        return
    try:
        from edgestill.demo.web.web_address import WebAddress  # noqa: PLC0415
        from edgestill.demo.web.web_view import WebView  # noqa: PLC0415
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if EXTRA_OF.get(library) != "web":
            raise
        raise missing_library("--web", library, "web") from error

    view = WebView(WebAddress.parse(args.web))
    try:
        yield view
    finally:
        view.close()


def watch(
    view: WebView | None,
    args: argparse.Namespace,
    detector: ModelDetector,
    sources: Mapping[str, FrameSource],
    names: tuple[str, ...],
) -> Watched:
    """Start the server of a view, and say what to open.

    Args:
        view: None for no web view.
        args: The command line.
        detector: The model; viewers change its threshold.
        sources: The sources by name.
        names: The classes of the results.
    """
    if view is None:
        return Watched()
    from edgestill.demo.web.run_state import RunFacts  # noqa: PLC0415
    from edgestill.progress import say  # noqa: PLC0415

    facts = RunFacts(
        model=Path(args.model).stem,
        backend=detector.backend.name,
        device=detector.backend.device,
        classes=names,
    )
    sink, gate = view.serve(facts, sources, detector, version=__version__)
    say(f"web view: {view.url}")
    return Watched(sinks=(sink,), gate=gate)
