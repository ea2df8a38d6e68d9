"""Run scripts in forks of one process that has imported torch and the training, and has trained nothing.

A line of stdin is a JSON list of what runs side by side, each with ``argv`` (a script and its words),
``env``, and the files ``stdout`` and ``stderr``. The answer is a line of stdout: their exit codes. A fork
begins as a fresh interpreter does, without the seconds of its imports.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import traceback
from importlib import import_module

for name in (
    "torch._dynamo",
    "distill.train",
    "edgestill.cli.options.qat",
):  # the first optimiser needs dynamo
    import_module(name)


def run(argv: list[str], env: dict[str, str], stdout: str, stderr: str) -> int:
    """Run a script as this process; gives its exit code."""
    os.environ.update(env)
    for number, path in ((1, stdout), (2, stderr)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.argv = argv
    try:
        runpy.run_path(argv[0], run_name="__main__")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def fork(command: dict[str, object]) -> int:
    """Start one; gives its process id."""
    process = os.fork()
    if process == 0:
        code = run(**command)  # type: ignore[arg-type]
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return process


for line in sys.stdin:
    started = [fork(command) for command in json.loads(line)]
    codes = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in started]
    print(json.dumps(codes), flush=True)
