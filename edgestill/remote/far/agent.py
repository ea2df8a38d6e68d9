"""One request from stdin, its answer on stdout.

The answer is a mark, then JSON lines: events, and at the end ``{"result": ...}`` or ``{"error": ...}``.
Behind the event of a file are its bytes.
"""

import errno
import json
import sys
from typing import Any

from edgestill.remote.far.downloads import fetch
from edgestill.remote.far.facts import doctor, facts
from edgestill.remote.far.jobs import clean, collected, follow, start, stop
from edgestill.remote.far.places import Places, RefusedError
from edgestill.remote.far.uploads import upload

MARK = "edgestill-agent 1"
FULL = (errno.ENOSPC, errno.EDQUOT)


def main() -> None:
    """Answer one request."""
    out = sys.stdout.buffer

    def emit(**event: Any) -> None:
        out.write(json.dumps(event).encode("utf-8") + b"\n")
        out.flush()

    try:
        out.write(f"\n{MARK}\n".encode())
        out.flush()
        request = json.loads(sys.stdin.buffer.readline().decode("utf-8"))
        try:
            emit(result=_answer(request, emit))
        except RefusedError as error:
            emit(error={"what": str(error), "hint": error.hint, "code": error.code})
        except OSError as error:
            if isinstance(error, BrokenPipeError):
                raise
            emit(error=_of_system(error))
    except (BrokenPipeError, EOFError):
        pass  # the client is gone; what it has started goes on


def _answer(request: "dict[str, Any]", emit: Any) -> "dict[str, Any]":
    places = Places(request["folder"])
    stream, out = sys.stdin.buffer, sys.stdout.buffer
    op = request["op"]
    if op == "upload":
        return upload(places, request, stream, emit)
    if op == "follow":
        return follow(places, request, stream, emit)
    if op == "fetch":
        return fetch(places, request, out, emit)
    simple = {
        "facts": facts,
        "doctor": doctor,
        "start": start,
        "stop": stop,
        "collected": collected,
        "clean": clean,
    }
    return simple[op](places, request)


def _of_system(error: OSError) -> "dict[str, Any]":
    """An error of the device's file system in two lines."""
    place = f"{error.filename}: " if error.filename else ""
    hint = "check the permissions there, or choose another folder with --folder"
    if error.errno in FULL:
        hint = "free some space there, or choose another disk with --folder; then repeat the command"
    return {"what": f"{place}{error.strerror or error}", "hint": hint, "code": 5}
