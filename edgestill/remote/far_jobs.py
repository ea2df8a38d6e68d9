"""Jobs on a device: started or found again, followed to their end, stopped where the user wants that."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from edgestill.progress import say
from edgestill.remote.device import Device, error_of
from edgestill.verbosity import is_quiet

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class Listener(Protocol):
    """Is told of a job that is followed."""

    def connected(self) -> None:
        """A connection was made, again after one was lost."""
        ...

    def heard(self, line: str) -> None:
        """A line of the log."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step of a job, see ``edgestill.remote.far.steps``.

    Attributes:
        name: ``install``, ``build``, ``layers``, ``verify``, ``bench`` or ``run``.
        models: Names of models of the bundle; empty for all.
        words: More arguments of the verb.
        if_missing: Whether it is left out where it was done before, or cannot be done.
        python: For ``install``, the path of the Python there; None for the system's.
    """

    name: str
    models: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    if_missing: bool = True
    python: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedJob:
    """A job that is done, or was stopped.

    Attributes:
        number: Of the job, on the device.
        results: What its steps printed, by their names.
        skipped: Steps that were left out, and why.
        was_stopped: Whether the user stopped it.
    """

    number: int
    results: dict[str, Any]
    skipped: dict[str, str]
    was_stopped: bool


def run_job(
    device: Device,
    verb: str,
    steps: Sequence[Step],
    *,
    bundle: str | None,
    listener: Listener | None = None,
    ask: Callable[[str], bool] | None = None,
) -> EndedJob:
    """Start a job, or find the one that the same command has started before, and follow it to its end.

    Args:
        device: Where.
        verb: What it is called, also for others who find the device in use.
        steps: What it does.
        bundle: Name of the bundle there; None for the one that was deployed last.
        listener: Is told each line of the log, of a job that was found also those that were shown before.
        ask: Asks whether to stop the job after Ctrl-C; None for a question on the terminal.

    Raises:
        KeyboardInterrupt: The user went away, and the job goes on.
        ToolchainError: A step failed; the error is the one that it told.
    """
    plain = [asdict(step) for step in steps]
    key = hashlib.sha256(json.dumps([verb, bundle, plain]).encode()).hexdigest()
    found = device.ask("start", verb=verb, bundle=bundle, steps=plain, key=key)
    number = found["job"]
    if found["found"] is not None:
        say(f"{device.name}: job {number} ({verb}) of yours is {found['found']}: its log goes on here")
    is_new = found["found"] is None or listener is not None
    follower = _Follower(device, number, 0 if is_new else None, listener)
    try:
        state = device.patiently(follower.follow)
    except KeyboardInterrupt:
        if not (ask or _ask)(f"stop the {verb} on {device.name}, too? [y/N] "):
            raise KeyboardInterrupt(
                f"the {verb} goes on on {device.name}; the same command shows it again"
            ) from None
        device.ask("stop", job=number)
        state = device.patiently(follower.follow)
    return _ended(device, number, state)


def _ended(device: Device, number: int, state: dict[str, Any]) -> EndedJob:
    if state["state"] in {"failed", "interrupted"}:
        error = error_of(state)
        raise type(error)(f"on {device.name}: {error.what}", hint=error.hint)
    return EndedJob(
        number=number,
        results=state["results"],
        skipped=state["skipped"],
        was_stopped=state["state"] == "stopped",
    )


class _Follower:
    """Shows the log of a job from where it stopped.

    Args:
        device: Where.
        number: Of the job.
        at: First byte of the log that is wanted; None for the first one that was never sent.
        listener: Is told each line.
    """

    def __init__(self, device: Device, number: int, at: int | None, listener: Listener | None) -> None:
        self._device, self._number, self._at, self._listener = device, number, at, listener

    def follow(self) -> dict[str, Any]:
        """Show the log up to the end of the job; gives its state."""
        with self._device.call("follow", job=self._number, at=self._at) as call:
            if self._listener is not None:
                self._listener.connected()
            while "result" not in (event := call.event()):
                self._show(event["log"])
                self._at = event["at"]
            result: dict[str, Any] = event["result"]
            return result

    def _show(self, text: str) -> None:
        for line in _COLOURS.sub("", text).replace("\r", "\n").splitlines():
            # A device is another machine: its text must not steer this terminal.
            plain = "".join(char if char.isprintable() or char == "\t" else "?" for char in line)
            if plain.strip():
                if not is_quiet():
                    sys.stderr.write(f"{self._device.name} | {plain}\n")
                    sys.stderr.flush()
                if self._listener is not None:
                    self._listener.heard(plain)


def _ask(question: str) -> bool:
    """A question on the terminal; no without one. A second Ctrl-C is a no, too."""
    if not sys.stdin.isatty():
        return False
    sys.stderr.write(question)
    sys.stderr.flush()
    try:
        return sys.stdin.readline().strip().casefold() in {"y", "yes"}
    except KeyboardInterrupt:
        return False
