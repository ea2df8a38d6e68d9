"""The verbs of ``edgestill remote``: each does what is missing of those before it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import count
from pathlib import Path
from typing import Any

from edgestill.errors import UsageError
from edgestill.progress import say
from edgestill.remote.bundle_transfer import LocalBundle, send_bundle
from edgestill.remote.device import Device
from edgestill.remote.far_jobs import EndedJob, Step, run_job
from edgestill.remote.fetched import fetch_files, refuse_folder
from edgestill.remote.web_forward import WebForward

OFF_S = 600.0  # by which a clock may be off before that is told
UNITS = ((365.25 * 86400, "years"), (86400.0, "days"), (3600.0, "hours"), (60.0, "minutes"))
LEAST_PYTHON = (3, 10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a verb is asked for.

    Attributes:
        bundle: The bundle here; None for the one that was deployed last.
        models: Names of its models; empty for all.
        words: Options of ``bench`` or ``run`` on the device.
        python: Path of the Python there; None for the system's.
        to: Folder here for the files of the job; None for one with the name of device, verb and job.
        force: Whether that folder may be replaced.
    """

    bundle: Path | None = None
    models: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    python: str | None = None
    to: Path | None = None
    force: bool = False


def doctor(device: Device) -> dict[str, Any]:
    """What the device is, has and lacks. ``problems`` say why nothing can be deployed, each with a hint."""
    found = device.ask("doctor", python=None)
    return {
        "kind": "remote-doctor",
        "host": device.name,
        **found,
        "problems": _problems(found, device.name),
        "doubts": _clock_doubts(found, device.name),
    }


def deploy(device: Device, request: Request) -> dict[str, Any]:
    """Send the bundle and install it."""
    if request.bundle is None:
        raise UsageError("there is no BUNDLE to deploy", hint="edgestill bundle MODEL... --out FILE.tar.zst")
    return _do(device, "deploy", request, [])


def build(device: Device, request: Request) -> dict[str, Any]:
    """Build the engines, and bring their layers here."""
    models = request.models
    steps = [Step(name="build", models=models, if_missing=False), Step(name="layers", models=models)]
    return _do(device, "build", request, steps, fetches=True)


def verify(device: Device, request: Request) -> dict[str, Any]:
    """Run the models and their engines on the stored inputs."""
    return _do(device, "verify", request, [Step(name="verify", models=request.models)])


def bench(device: Device, request: Request) -> dict[str, Any]:
    """Build where there is TensorRT, verify, measure, and bring report, layers and log here."""
    models = request.models
    steps = [
        Step(name="build", models=models),
        Step(name="layers", models=models),
        Step(name="verify", models=models),
        Step(name="bench", models=models, words=request.words),
    ]
    return _do(device, "bench", request, steps, fetches=True)


def run(device: Device, request: Request, *, web_port: int | None) -> dict[str, Any]:
    """Run a model on a camera of the device; files that it writes are brought here.

    Args:
        device: Where.
        request: ``words`` name the source.
        web_port: Port here for the web view of the run, 0 for any free one; None for no web view.
    """
    words = request.words if web_port is None else (*request.words, "--web", "127.0.0.1:0")
    steps = [Step(name="run", models=request.models, words=words)]
    if web_port is None:
        return _do(device, "run", request, steps, fetches=True)
    with closing(WebForward(device.transport, web_port)) as forward:
        return _do(device, "run", request, steps, fetches=True, listener=forward)


def fetch(device: Device, to: Path | None, *, job: int | None, force: bool) -> dict[str, Any]:
    """Bring log, results and written files of a job here."""
    number = job if job is not None else device.ask("facts", python=None)["last_job"]
    if number is None:
        raise UsageError(
            f"there is no job of yours on {device.name}", hint=f"edgestill remote {device.name} bench BUNDLE"
        )
    folder = to or _new_folder(device, "fetch")
    return {
        "kind": "remote-fetch",
        "host": device.name,
        **fetch_files(device, folder, job=number, force=force),
    }


def clean(device: Device) -> dict[str, Any]:
    """Stop the user's job, and remove all that was deployed and measured there."""
    return {"kind": "remote-clean", "host": device.name, **device.ask("clean")}


def _do(
    device: Device,
    verb: str,
    request: Request,
    steps: Sequence[Step],
    *,
    fetches: bool = False,
    listener: WebForward | None = None,
) -> dict[str, Any]:
    """Send the bundle if it is not there, run the steps, and fetch what they left."""
    if request.to is not None:
        refuse_folder(request.to, force=request.force)
    facts = device.ask("facts", python=request.python)
    doubts = _clock_doubts(facts, device.name)
    for doubt in doubts:
        say(f"warning: {doubt}")
    sent = _send_if_missing(device, request.bundle, facts)
    job = run_job(
        device,
        verb,
        [Step(name="install", python=request.python), *steps],
        bundle=sent["bundle"],
        listener=listener,
    )
    wrote = verb != "run" or request.to is not None or (job.results.get("run") or {}).get("files")
    files = _files(device, verb, request, job) if fetches and wrote else []
    device.ask("collected", job=job.number)
    if job.was_stopped and verb != "run":
        raise KeyboardInterrupt(f"the {verb} on {device.name} was stopped; repeat the command")
    return {
        "kind": f"remote-{verb}",
        "host": device.name,
        "device": {name: facts[name] for name in ("machine", "system", "model", "l4t", "pythons")},
        **sent,
        "job": job.number,
        "steps": job.results,
        "skipped": job.skipped,
        "files": files,
        "doubts": doubts,
    }


def _send_if_missing(device: Device, path: Path | None, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Send a bundle, if it is not the user's on the device already."""
    if path is None:
        return {"bundle": facts["bundle"], "sent_bytes": 0, "reused_bytes": 0}
    local = LocalBundle.read(path)
    local.check_fit(facts, device.name)
    if facts["bundle"] == local.name and local.name in facts["bundles"]:
        return {"bundle": local.name, "sent_bytes": 0, "reused_bytes": sum(local.sizes.values())}
    return send_bundle(local, device)


def _files(device: Device, verb: str, request: Request, job: EndedJob) -> list[str]:
    folder = request.to or _new_folder(device, verb)
    found = fetch_files(device, folder, job=job.number, force=request.force)
    return [str(name) for name in found["files"]]


def _new_folder(device: Device, verb: str) -> Path:
    """A folder in the working folder that does not exist yet, e.g. ``jetson-bench-3``."""
    host = device.name.rpartition("@")[2]
    stem = f"{''.join(c if c.isalnum() or c in '._-' else '-' for c in host)}-{verb}"
    return next(path for number in count(1) if not (path := Path(f"{stem}-{number}")).exists())


def _problems(facts: Mapping[str, Any], name: str) -> list[dict[str, str]]:
    found = []
    versions = [tuple(map(int, version.split("."))) for version in facts["pythons"]]
    if not any(LEAST_PYTHON <= version <= (3, 12) for version in versions):
        have = ", ".join(facts["pythons"]) or "none"
        found.append(
            {
                "what": f"{name} has Python {have}; edgestill needs 3.10, 3.11 or 3.12",
                "hint": "install one there, and name it: --python /path/of/python",
            }
        )
    if facts["machine"] not in {"x86_64", "aarch64"}:
        found.append(
            {
                "what": f"{name} is {facts['machine']}: there are no packages for it",
                "hint": "edgestill runs on x86_64 and aarch64",
            }
        )
    return found


def _clock_doubts(facts: Mapping[str, Any], name: str, now: Callable[[], float] | None = None) -> list[str]:
    """Whether the clock of the device is off. Nothing is decided by it, but its logs and reports have it."""
    here = (now or (lambda: datetime.now(timezone.utc).timestamp()))()
    off_s = float(facts["unix_time_s"]) - here
    if abs(off_s) < OFF_S:
        return []
    size, unit = next((one for one in UNITS if abs(off_s) >= one[0]), UNITS[-1])
    side = "ahead of" if off_s > 0 else "behind"
    off = f"the clock of {name} is {abs(off_s) / size:.1f} {unit} {side} that of this machine"
    return [f"{off}: the times in its log and report are wrong; there: sudo timedatectl set-ntp true"]
