"""Runs commands in one process, so that libraries are imported once; a JSON line in, a JSON line out.

In: ``{"folder": ..., "words": [...]}``. Out: ``{"code": ..., "said": ...}``: the exit code, None after an
exception that ``main`` let through, and what the command wrote to stderr, with that traceback.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import traceback
import warnings
from pathlib import Path

MEMORY_BYTES = 4 << 30  # what a bad input may make a process take; the machine's is for others


def main() -> None:
    """Answer requests until stdin ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    requests = os.fdopen(os.dup(0), encoding="utf-8")
    silent = os.open(os.devnull, os.O_RDONLY)
    os.dup2(silent, 0)
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    from edgestill.cli.main import main as edgestill

    for line in requests:
        wanted = json.loads(line)
        folder = Path(wanted["folder"])
        os.chdir(folder)
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        os.environ["XDG_DATA_HOME"] = str(folder / "share")
        output = folder.with_suffix(".out")
        with output.open("wb") as stream:
            os.dup2(stream.fileno(), 1)
            os.dup2(stream.fileno(), 2)
        try:
            code = edgestill(wanted["words"])
        except SystemExit as end:  # argparse's --help
            code = end.code if isinstance(end.code, int) else 0
        except BaseException:
            code = None
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        answers.write(
            json.dumps({"code": code, "said": output.read_text("utf-8", "replace")[-30_000:]}) + "\n"
        )


if __name__ == "__main__":
    main()
