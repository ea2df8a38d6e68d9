"""Run every verb on generated bad inputs: ``python -m tests.cli.bad_inputs``, in the project's folder.

Each case has a folder of its own with copies of good inputs, one of which is damaged. What must hold: the
exit code is one of a result or an error, no traceback, an error is two lines with a hint, the command ends in
time, and no file of the user is changed or lost. The same seed makes the same cases.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from tests.cli.bad_inputs import materials
from tests.cli.bad_inputs.cases import Case, all_cases
from tests.cli.bad_inputs.mutations import damage

CODES = frozenset({0, 2, 3, 4, 5, 6})
ERRORS = frozenset({2, 3, 4, 5, 6})
FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a case did, and what is wrong with that; empty if nothing is."""

    name: str
    command: str
    way: str
    code: int | None
    faults: tuple[str, ...]
    said: str


class Worker:
    """A process that runs cases; it is started again after a crash or a hang."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def run(self, folder: Path, words: Sequence[str], limit_s: float) -> tuple[int | None, str, str]:
        """Returns exit code, output, and what ended the process, if something did."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-X", "faulthandler", str(FOLDER / "worker.py")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "YOLO_OFFLINE": "true", "COLUMNS": "200"},
                start_new_session=True,
            )
        process = self._process
        assert process.stdin is not None
        process.stdin.write(json.dumps({"folder": str(folder), "words": list(words)}) + "\n")
        process.stdin.flush()
        answer: queue.Queue[str] = queue.Queue()
        assert process.stdout is not None
        threading.Thread(target=lambda: answer.put(process.stdout.readline()), daemon=True).start()  # type: ignore[union-attr]
        try:
            line = answer.get(timeout=limit_s)
        except queue.Empty:
            line, ended = "", f"did not end in {limit_s:g} s"
            os.killpg(process.pid, signal.SIGKILL)
        else:
            ended = ""
        if line:
            found = json.loads(line)
            return found["code"], found["said"], ""
        status = process.wait()
        self._process = None
        output = folder.with_suffix(".out")
        said = output.read_text("utf-8", "replace")[-30_000:] if output.exists() else ""
        return None, said, ended or f"the process ended with {status}"

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait()


def prepare(case: Case, store: Path, folder: Path, seed: int) -> str:
    """Fill the folder of a case and damage its input; returns what was done."""
    folder.mkdir(parents=True)
    for name in case.materials:
        for part in (name, *sorted(materials._below(name))):
            for place in (store / part).iterdir():
                if place.is_dir():
                    shutil.copytree(place, folder / place.name, dirs_exist_ok=True)
                elif not place.name.startswith("."):
                    shutil.copy2(place, folder / place.name)
    random = Random(f"{seed} {case.name}")
    found = sorted({p for glob in case.targets for p in folder.glob(glob) if p.is_file()})
    assert found or not case.targets, case
    if found:
        target = random.choice(found)
        return f"{damage(target, random)} of {target.relative_to(folder)}"
    (folder / "empty").touch()
    (folder / "loop").symlink_to("loop")
    os.mkfifo(folder / "fifo")
    return ""


def snapshot(folder: Path, changes: Sequence[str]) -> dict[str, str]:
    """SHA-256 of every file that a command must not change; empty for one that it may change and not lose."""
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = str(path.relative_to(folder))
        free = name.split("/", maxsplit=1)[0] in changes
        found[name] = "" if free else hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def judge(case: Case, code: int | None, said: str, ended: str) -> list[str]:
    """What is wrong with the end of a command."""
    faults = [ended] if ended else []
    if not ended and code not in CODES:
        faults.append(f"exit code {code}")
    if "Traceback (most recent call last)" in said:
        faults.append("a traceback")
    lines = said.rstrip("\n").split("\n")[-2:]
    named = lines[0].startswith(f"edgestill {case.words[0]}: ") and len(lines[0]) > len(case.words[0]) + 14
    if code in ERRORS and not (
        len(lines) == 2 and named and lines[1].startswith("  hint: ") and lines[1][8:].strip()
    ):
        faults.append("the error is not two lines with a hint")
    return faults


def run_case(case: Case, worker: Worker, store: Path, root: Path, seed: int, limit_s: float) -> Outcome:
    """Run one case."""
    folder = root / case.name
    way = prepare(case, store, folder, seed)
    before = snapshot(folder, case.changes)
    code, said, ended = worker.run(folder, case.words, limit_s)
    faults = judge(case, code, said, ended)
    after = snapshot(folder, case.changes)
    # A run that is finished needs no state to resume from.
    done = {name for name in before if name.endswith("/state.pt")} if code == 0 else set()
    lost = [name for name, digest in before.items() if after.get(name) != digest and name not in done]
    faults += [f"changed or lost: {', '.join(lost)}"] if lost else []
    if not faults:
        shutil.rmtree(folder, ignore_errors=True)
        folder.with_suffix(".out").unlink(missing_ok=True)
    command = "edgestill " + " ".join(
        word if len(word) < 80 else f"{word[:20]}...({len(word)})" for word in case.words
    )
    return Outcome(
        case.name, command.encode("utf-8", "backslashreplace").decode(), way, code, tuple(faults), said
    )


def make_store(store: Path, cases: Sequence[Case]) -> None:
    """Make the inputs that the cases need, each kind in a folder, so that a case copies only its own."""
    together = store / ".together"
    wanted = {name for case in cases for name in case.materials}
    wanted |= {below for name in wanted for below in materials._below(name)}
    known: set[str] = set()
    for name in (name for name in materials.MAKERS if name in wanted):
        materials.make(together, {name})
        (store / name).mkdir()
        for place in sorted(together.iterdir()):
            if place.name == "cache" and name != "models":
                continue  # of the verbs that made other inputs
            if place.name not in known and not place.name.startswith("."):
                known.add(place.name)
                target = store / name / place.name
                shutil.copytree(place, target) if place.is_dir() else shutil.copy2(place, target)


def main() -> int:
    """Run the cases; exit code 1 if one of them fails."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", help="names of cases, or their beginnings"
    )
    parser.add_argument("--limit-s", type=float, default=120.0, help="seconds for each case")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="folder for the inputs of failed cases")
    parser.add_argument("--json", type=Path, help="file for the outcomes")
    args = parser.parse_args()
    cases = [c for c in all_cases(args.seed) if not args.only or any(_is(c.name, w) for w in args.only)]
    with tempfile.TemporaryDirectory(prefix="bad-inputs-") as name:
        root = args.keep or Path(name)
        store = Path(name) / "store"
        store.mkdir()
        make_store(store, cases)
        outcomes = run_all(cases, store, root.resolve() / "cases", args)
    failed = [outcome for outcome in outcomes if outcome.faults]
    for outcome in failed:
        print(f"\n{outcome.name}: {'; '.join(outcome.faults)}\n  {outcome.command}\n  {outcome.way}")
        print(f"  again: python -m tests.cli.bad_inputs --seed {args.seed} --only {outcome.name} --keep DIR")
        print("    " + "\n    ".join(line[:200] for line in outcome.said.strip().splitlines()[-12:]))
    codes = {str(c): sum(o.code == c for o in outcomes) for c in sorted({o.code for o in outcomes}, key=str)}
    print(json.dumps({"cases": len(outcomes), "failed": len(failed), "codes": codes}))
    if args.json:
        args.json.write_text(
            json.dumps([{s: getattr(o, s) for s in Outcome.__slots__} for o in outcomes]), "utf-8"
        )
    return 1 if failed or not outcomes else 0


def _is(name: str, wanted: str) -> bool:
    return name == wanted or name.rpartition("-")[0] == wanted


def run_all(cases: Sequence[Case], store: Path, root: Path, args: Any) -> list[Outcome]:
    """Run the cases in a few processes."""
    waiting: queue.Queue[Case] = queue.Queue()
    for case in cases:
        waiting.put(case)
    outcomes: list[Outcome] = []

    def work() -> None:
        worker = Worker()
        while True:
            try:
                case = waiting.get_nowait()
            except queue.Empty:
                break
            outcomes.append(run_case(case, worker, store, root, args.seed, args.limit_s))
            print(f"{len(outcomes)}/{len(cases)} {case.name}", file=sys.stderr)
        worker.close()

    threads = [threading.Thread(target=work) for _ in range(min(args.jobs, len(cases)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(outcomes, key=lambda outcome: outcome.name)


if __name__ == "__main__":
    sys.exit(main())
