"""Jobs: steps in a session of their own, which outlives the connection that has started it.

Every command is a list of words, and no shell reads any of them. ``key`` is the hash of all that decides the
result, so that the same command finds the job that it has started before.
"""

import os
import select
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any, BinaryIO, Callable, Iterator

from edgestill.remote.far.places import (
    Places,
    RefusedError,
    forget,
    held,
    now,
    pauses,
    read_json,
    remove,
    take_lock,
    write_json,
)
from edgestill.remote.far.steps import FINAL, Bundle, check_steps, end_group, is_left_over, run_steps

KEPT = 3  # finished jobs of a user that stay, for `fetch`
PIECE = 1 << 16
Emit = Callable[..., None]


def start(places: Places, request: "dict[str, Any]") -> "dict[str, Any]":
    """Start a job, or find the one that the same command has started before.

    Args:
        places: The folder.
        request: ``owner``; ``verb``; ``bundle``, a name, or None for the one that the user deployed last;
            ``key``; ``steps``, see ``edgestill.remote.far.steps``.
    """
    owner, key = request["owner"], request["key"]
    running = own_job(places, owner)
    if running is not None:
        if _job(places, running).get("key") == key:
            return {"job": running, "found": "running"}
        raise held(places.holder() or {"owner": owner})
    name = request["bundle"] or places.owners().get(owner)
    if name is None or not places.bundle(name).is_dir():
        raise RefusedError("no bundle of yours is deployed there", "name a bundle: NAME.tar.zst", 2)
    bundle = Bundle(places.bundle(name))
    check_steps(bundle, request["steps"])
    lock = take_lock(places, owner, request["verb"])
    try:
        finished = _uncollected(places, owner, key)
        if finished is not None:
            return {"job": finished, "found": "finished"}
        _sweep(places, owner, KEPT)
        number = _new_job(places, {**request, "bundle": name, "since": now()})

        _detach(
            places.job(number) / "log",
            lambda: lock.sign(owner, request["verb"], number),
            lambda: run_steps(bundle, places.job(number), request["steps"]),
        )
        return {"job": number, "found": None}
    finally:
        lock.close()


def follow(places: Places, request: "dict[str, Any]", stream: BinaryIO, emit: Emit) -> "dict[str, Any]":
    """Write the log of a job as it grows, and its state at the end.

    Args:
        places: The folder.
        request: ``job``; ``at``, the first byte of the log that is wanted, or None for the first one that no
            client was sent.
        stream: Ends when the client is gone.
        emit: Writes an event.
    """
    folder, number = places.job(request["job"]), request["job"]
    at = request["at"]
    if at is None:
        at = int((folder / "seen").read_text("ascii")) if (folder / "seen").is_file() else 0
    waits = pauses()
    while True:
        state = _state(places, number)  # before the log is read: what was written until the end is sent
        is_final = state["state"] in FINAL
        for text, end in _pieces(folder / "log", at, is_final):
            emit(log=text, at=end)
            at = end
            (folder / "seen").write_text(str(at), "ascii")
            waits = pauses()
        if is_final:
            return {**state, "results": _results(folder)}
        if select.select([stream], [], [], next(waits))[0]:
            raise EOFError("the client is gone")


def stop(places: Places, request: "dict[str, Any]") -> "dict[str, Any]":
    """Ask a running job to stop."""
    (places.job(request["job"]) / "stop").touch()
    return {"job": request["job"]}


def collected(places: Places, request: "dict[str, Any]") -> "dict[str, Any]":
    """Note that the client has the results of a job: the same command starts a new one from now on."""
    (places.job(request["job"]) / "collected").touch()
    return {"job": request["job"]}


def clean(places: Places, request: "dict[str, Any]") -> "dict[str, Any]":
    """Stop the user's job, and remove what is the user's; the folder, too, if nobody else has a bundle."""
    owner = request["owner"]
    if not places.root.exists():
        return {"removed": None, "stopped_job": None, "left_for": []}
    running = own_job(places, owner)
    if running is not None:
        stop(places, {"job": running})
        waits = pauses()
        while own_job(places, owner) == running:
            time.sleep(next(waits))
    lock = take_lock(places, owner, "clean")
    try:
        _sweep(places, owner, 0)
        forget(places, owner)
        others = sorted(places.owners())
        if not others:
            remove(places.root)
    finally:
        lock.close()
    return {"removed": str(places.root), "stopped_job": running, "left_for": others}


def own_job(places: Places, owner: str) -> "int | None":
    """The number of the job of a user that runs."""
    running = places.holder() or {}
    return running.get("job") if running.get("owner") == owner else None


def last_job(places: Places, owner: str) -> "int | None":
    """The number of the newest job of a user."""
    own = [number for number in places.jobs() if _job(places, number).get("owner") == owner]
    return own[-1] if own else None


def describe(places: Places) -> "list[dict[str, Any]]":
    """The jobs that there are."""
    return [
        {
            "job": number,
            "state": _state(places, number)["state"],
            **{name: _job(places, number).get(name) for name in ("owner", "verb", "since")},
        }
        for number in places.jobs()
    ]


def _job(places: Places, number: int) -> "dict[str, Any]":
    found: dict[str, Any] = read_json(places.job(number) / "job.json") or {}
    return found


def _state(places: Places, number: int) -> "dict[str, Any]":
    """The state of a job; ``interrupted`` if it was killed, or the device has lost its power."""
    path = places.job(number) / "state.json"
    state: dict[str, Any] = read_json(path) or {"state": "running"}
    if state["state"] in FINAL:
        return state
    holder = places.holder()
    state = read_json(path) or state  # again: it may have ended meanwhile, and freed the lock then
    if state["state"] in FINAL or (holder is not None and holder.get("job", number) == number):
        return state
    what = "the job was interrupted: it was killed, or the device was restarted"
    return {**state, "state": "interrupted", "code": 5, "what": what, "hint": "repeat the command"}


def _uncollected(places: Places, owner: str, key: str) -> "int | None":
    """The user's newest job, if it is of this key, was done, and its results were not fetched."""
    number = last_job(places, owner)
    if number is None or _job(places, number).get("key") != key:
        return None
    is_done = (read_json(places.job(number) / "state.json") or {}).get("state") == "done"
    return number if is_done and not (places.job(number) / "collected").exists() else None


def _sweep(places: Places, owner: str, kept: int) -> None:
    """End what killed jobs left running, and remove all but the newest jobs of a user."""
    own = []
    for number in places.jobs():
        state = read_json(places.job(number) / "state.json") or {}
        if state.get("state") not in FINAL and is_left_over(state):
            end_group(state["group"])
        if _job(places, number).get("owner", owner) == owner:
            own.append(number)
    for number in own[: max(len(own) - kept, 0)]:
        remove(places.job(number))


def _new_job(places: Places, job: "dict[str, Any]") -> int:
    number = max(places.jobs(), default=0) + 1
    folder = places.job(number)
    for name in ("out", "results"):
        (folder / name).mkdir(parents=True)
    (folder / "log").touch()
    write_json(folder / "job.json", job)
    return number


def _detach(log: Path, first: "Callable[[], None]", work: "Callable[[], None]") -> None:
    """Do some work in a grandchild with a session of its own; returns once ``first`` was done there."""
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            if os.fork() == 0:
                _let_go(log)
                first()
                os.close(writes)
                work()
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(0)
    os.close(writes)
    os.waitpid(child, 0)
    os.read(reads, 1)
    os.close(reads)


def _let_go(log: Path) -> None:
    """Leave the connection, for whose ends ssh waits; errors go to the log."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1):
        os.dup2(null, stream)
    os.dup2(os.open(str(log), os.O_WRONLY | os.O_APPEND), 2)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # steps inherit it, and are stopped by it


def _pieces(log: Path, at: int, whole: bool) -> "Iterator[tuple[str, int]]":
    """What the log has from a byte on, in whole lines, each piece with the byte behind it."""
    with log.open("rb") as stream:
        stream.seek(at)
        while True:
            block = stream.read(PIECE)
            end = max(block.rfind(b"\n"), block.rfind(b"\r")) + 1
            if whole or len(block) == PIECE:
                end = end or len(block)
            if not end:
                return
            at += end
            stream.seek(at)
            yield block[:end].decode("utf-8", "replace"), at


def _results(folder: Path) -> "dict[str, Any]":
    """What each step printed, by its name."""
    return {path.stem: read_json(path) for path in sorted((folder / "results").glob("*.json"))}
