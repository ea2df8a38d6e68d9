"""Start and end the emulated board by hand: ``python -m tests.arm64 up FOLDER``.

check        say what this machine lacks for it; exit status 2 if anything
up FOLDER    make it if FOLDER is new, start it, print host, port, user and key as JSON
ssh FOLDER COMMAND...
down FOLDER  end it; the folder stays, and `up` starts it again in seconds
remove FOLDER
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

from tests.arm64.board import facts, install, make, missing_here, read_board, start, stop


def main() -> int:
    """Run one command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="tests.arm64", description=__doc__)
    parser.add_argument("what", choices=["check", "up", "ssh", "down", "remove"])
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    if (missing := missing_here()) is not None:
        print(f"error: {missing}", file=sys.stderr)
        return 2
    if args.what == "check":
        return 0
    if args.folder is None:
        parser.error("FOLDER is missing")
    folder = args.folder.resolve()
    if args.what == "up":
        is_new = not folder.exists()
        if is_new:
            make(folder)
        board = start(folder, detached=True)
        if is_new:
            try:
                install(board)
            except BaseException:
                stop(board)
                raise
        print(json.dumps({**facts(board), "ssh": " ".join(board.ssh)}, indent=1))
        return 0
    board = read_board(folder)
    if args.what == "ssh":
        return subprocess.run([*board.ssh, *args.command], check=False).returncode
    stop(board)
    if args.what == "remove":
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
