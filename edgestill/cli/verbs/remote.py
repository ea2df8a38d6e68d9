"""``edgestill remote``: deploy, build, verify, measure and run on a device over ssh."""

from __future__ import annotations

import argparse
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from edgestill.cli.command_line import words_of
from edgestill.cli.options.benchmark import peers
from edgestill.cli.verbs import bench as bench_verb
from edgestill.cli.verbs import run as run_verb
from edgestill.errors import DeviceError

if TYPE_CHECKING:
    from edgestill.remote.device import Device

SUMMARY = "Deploy, build, verify, measure and run on a device over ssh, from this machine"
EXAMPLE = "edgestill remote me@jetson bench student.tar.zst --duration-s 20"

#: Arguments of the verbs on the device that are decided here, or have no sense there: models and files of
#: this machine, windows, and suites and comparisons with other programs, which export.
LEFT_OUT = {
    "bench": {"models", "out", "force", "suite", "data", "split", "max_ms", "min_map", "build", "baseline"}
    | {"peers", *peers.OWN},
    "run": {"model", "web", "show", "json_lines", "force"},
}
FOLDER = "~/.edgestill-remote"  # as edgestill.remote.device.FOLDER
_ACTIONS = {
    "doctor": "what the device is, has and lacks, and what is deployed there",
    "deploy": "send a bundle and install it",
    "build": "build TensorRT engines of its models, and bring their layers here",
    "verify": "run its models and engines on the stored inputs, and compare the outputs",
    "bench": "do all that is missing of these, measure, and bring report, layers and log here",
    "run": "run a model on a camera of the device; --web shows it in a browser here",
    "fetch": "bring log, results and written files of the last job here",
    "clean": "stop your job there, and remove all that you have put there",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the sub-verbs."""
    parser.add_argument(
        "host", metavar="USER@HOST[:PORT]", help="as for ssh, also a name of your ~/.ssh/config"
    )
    verbs = parser.add_subparsers(dest="action", required=True, metavar=f"{{{','.join(_ACTIONS)}}}")
    for name, summary in _ACTIONS.items():
        description = f"{summary[:1].upper()}{summary[1:]}."
        # The options of the verb on the device come with its own parser.
        parents = [_options_of(name)] if name in LEFT_OUT else []
        below = verbs.add_parser(
            name, help=summary, description=description, allow_abbrev=False, parents=parents
        )
        _add_own(name, below)


def _add_own(name: str, parser: argparse.ArgumentParser) -> None:
    """The arguments of a sub-verb that are about the device and the files here."""
    add = parser.add_argument
    if name == "deploy":
        add("bundle", type=Path, metavar="BUNDLE", help="a file of `edgestill bundle`")
    elif name in {"build", "verify", "bench"}:
        add("bundle", nargs="?", type=Path, metavar="BUNDLE", help="deployed first (default: what is there)")
        add("--model", action="append", metavar="NAME", help="a model of the bundle; may be repeated")
    elif name == "run":
        add("model", nargs="?", metavar="NAME", help="a model of the bundle, if it has several")
        add("--bundle", type=Path, metavar="BUNDLE", help="deployed first (default: what is there)")
        add(
            "--web",
            nargs="?",
            type=int,
            const=0,
            metavar="PORT",
            help="show the run in a browser at this port of this machine (default: any free one)",
        )
    if name in {"deploy", "build", "verify", "bench", "run"}:
        add("--python", metavar="PATH", help="the device's Python, if it is not on its path")
    if name in {"build", "bench", "run", "fetch"}:
        add("--to", type=Path, metavar="DIR", help="folder here for the files (default: HOST-VERB-N)")
        add("--force", action="store_true", help="replace that folder")
    if name == "fetch":
        add("--job", type=int, metavar="N", help="number of the job (default: the last one of yours)")
    add("--folder", default=FOLDER, metavar="DIR", help=f"folder on the device (default {FOLDER})")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Run the sub-verb."""
    from edgestill.remote.device import Device, this_user  # noqa: PLC0415 (imports the reading of bundles)
    from edgestill.remote.remote_host import RemoteHost  # noqa: PLC0415
    from edgestill.remote.ssh import Ssh  # noqa: PLC0415

    host = RemoteHost.parse(args.host)
    with _terminated(), closing(Ssh(host)) as transport:
        return _run(args, Device(transport=transport, owner=this_user(), folder=args.folder))


@contextmanager
def _terminated() -> Iterator[None]:
    """Close the connection also when SIGTERM or SIGHUP, of a closed terminal, ends this program."""
    from runtime.interrupts import Terminated  # noqa: PLC0415

    def end(signum: int, frame: FrameType | None) -> None:
        raise Terminated(signum)

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    former = {number: signal.getsignal(number) for number in numbers}
    in_main_thread = threading.current_thread() is threading.main_thread()
    mine = [number for number in numbers if in_main_thread and former[number] is signal.SIG_DFL]
    for number in mine:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in mine:
            signal.signal(number, former[number])


def verdict(result: dict[str, Any]) -> None:
    """Raise DeviceError, after the result was printed, if nothing can be deployed there."""
    problems = result.get("problems")
    if problems:
        raise DeviceError(problems[0]["what"], hint=problems[0]["hint"])


def show(result: dict[str, Any]) -> Any:
    """A table of the result; of ``bench`` and ``run``, the tables of the verb on the device below it."""
    from rich.console import Group  # noqa: PLC0415 (for the terminal only)
    from rich.table import Table  # noqa: PLC0415

    table = Table("", "", title=f"{result['kind']} {result['host']}", show_header=False)
    device = result.get("device") or result
    for name in ("machine", "system", "model", "l4t", "free_mb", "bundle", "job", "removed", "stopped_job"):
        value = device.get(name, result.get(name))
        if value is not None:
            table.add_row(name.replace("_", " "), str(value))
    if device.get("pythons"):
        table.add_row("Pythons", ", ".join(device["pythons"]))
    for version, found in (result.get("tensorrt") or {}).items():
        table.add_row(f"TensorRT, Python {version}", found or "-")
    if result.get("left_for"):
        table.add_row("left for", ", ".join(result["left_for"]))
    if lock := result.get("lock"):
        table.add_row("in use", f"{lock.get('verb')} of {lock.get('owner')} since {lock.get('since')}")
    for step, why in (result.get("skipped") or {}).items():
        table.add_row(step, f"left out: {why}")
    for model in ((result.get("steps") or {}).get("verify") or {}).get("models", ()):
        found = f"{model['matched']} of {model['expected']} detections as expected"
        table.add_row(f"verify {model['name']}, {model['backend']}", found)
    for file in result.get("files", ()):
        table.add_row("file", file)
    for problem in result.get("problems", ()):
        table.add_row("problem", f"{problem['what']}\nhint: {problem['hint']}")
    for doubt in result.get("doubts", ()):
        table.add_row("warning", doubt)
    return Group(table, *_shown_below(result))


def _shown_below(result: dict[str, Any]) -> list[Any]:
    """What the verbs on the device show."""
    steps = result.get("steps") or {}
    found = [bench_verb.show(steps["bench"])] if steps.get("bench") else []
    if steps.get("run"):
        found.append(run_verb.show(steps["run"]))
    return found


def _run(args: argparse.Namespace, device: Device) -> dict[str, Any]:
    from edgestill.remote import loop  # noqa: PLC0415

    if args.action == "doctor":
        return loop.doctor(device)
    if args.action == "clean":
        return loop.clean(device)
    if args.action == "fetch":
        return loop.fetch(device, args.to, job=args.job, force=args.force)
    request = loop.Request(
        bundle=args.bundle,
        models=_models(args),
        words=_words(args),
        python=args.python,
        to=getattr(args, "to", None),
        force=getattr(args, "force", False),
    )
    if args.action == "run":
        return loop.run(device, request, web_port=args.web)
    action: Callable[[Device, loop.Request], dict[str, Any]] = {
        "deploy": loop.deploy,
        "build": loop.build,
        "verify": loop.verify,
        "bench": loop.bench,
    }[args.action]
    return action(device, request)


def _models(args: argparse.Namespace) -> tuple[str, ...]:
    given = getattr(args, "model", None)
    return (given,) if isinstance(given, str) else tuple(given or ())


def _words(args: argparse.Namespace) -> tuple[str, ...]:
    """The options of the verb on the device, as words."""
    return tuple(words_of(_options_of(args.action), args)) if args.action in LEFT_OUT else ()


def _options_of(name: str) -> argparse.ArgumentParser:
    """The arguments of a verb, without those of ``LEFT_OUT``."""
    whole = argparse.ArgumentParser(add_help=False)
    {"bench": bench_verb, "run": run_verb}[name].add_arguments(whole)
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for action in whole._actions:  # argparse has no public list
        if action.dest not in LEFT_OUT[name]:
            parser._add_action(action)
    return parser
