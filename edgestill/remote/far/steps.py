"""The steps of a job: what is run of a bundle, when it is left out, and what is known of its end.

A step has a ``name``; ``words``, more arguments; ``models``, names of the bundle (none for all); and
``if_missing``, whether it is left out where it was done before.
"""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, BinaryIO, Iterator

from edgestill.remote.far.places import RefusedError, pauses, read_json, write_json

FINAL = ("done", "failed", "stopped", "interrupted")
INSTALLED, ENGINES, BUILT = "installed", "engines", "built.json"
#: Signals for a step that is to stop, and the seconds it has after each.
ENDING = ((signal.SIGINT, 20.0), (signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0))
LAST = 1 << 14  # bytes of the log in which the error of a step is looked for
TENSORRT = "import tensorrt; print(tensorrt.__version__)"
VERBS = ("install", "build", "layers", "verify", "bench", "run")


class Bundle:
    """An unpacked bundle.

    Args:
        folder: Its folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.index = read_json(folder / "bundle.json") or {"models": []}

    def models(self, names: "list[str]") -> "dict[str, str]":
        """The files of the named models, or of all, by name; RefusedError if one is unknown."""
        files = {str(one["name"]): str(one["file"]) for one in self.index["models"]}
        for name in names:
            if name not in files:
                raise RefusedError(
                    f"the bundle there has no model {name!r}", f"known: {', '.join(sorted(files))}", 2
                )
        return {name: files[name] for name in names or sorted(files)}

    def engine(self, name: str) -> Path:
        """Where the engine of a model is, if it was built."""
        return self.folder / INSTALLED / ENGINES / f"{name}.trt.engine"

    def best(self, name: str, file: str) -> str:
        """The engine of a model where it was built, else its own file."""
        engine = self.engine(name)
        return str(engine if engine.is_file() else self.folder / file)

    @property
    def is_installed(self) -> bool:
        """Whether its environment is complete."""
        return (self.folder / INSTALLED / "complete.json").is_file()

    def tensorrt(self) -> "str | None":
        """The version of TensorRT in its environment."""
        python = self.folder / INSTALLED / "venv" / "bin" / "python"
        try:
            done = subprocess.run(
                [str(python), "-I", "-c", TENSORRT],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                check=False,
            )
        except OSError:
            return None
        return done.stdout.decode("utf-8", "replace").strip() or None


def check_steps(bundle: Bundle, steps: "list[dict[str, Any]]") -> None:
    """Raise RefusedError for steps that cannot be done, before any is begun."""
    for step in steps:
        found = bundle.models(step["models"])
        if step["name"] not in VERBS:
            raise ValueError(f"no step: {step['name']}")
        if step["name"] == "run" and len(found) > 1:
            raise RefusedError("the bundle there has several models", f"name one of: {', '.join(found)}", 2)


def run_steps(bundle: Bundle, folder: Path, steps: "list[dict[str, Any]]") -> None:
    """Do one step after the other, and keep ``state.json``; the first that fails is the last."""
    with (folder / "log").open("ab", buffering=0) as log:
        _Runner(bundle, folder, log).run(steps)


def end_group(group: int) -> None:
    """End a process group, at once."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def is_left_over(state: "dict[str, Any]") -> bool:
    """Whether the step of a job still runs, whose runner is gone."""
    return "group" in state and state.get("began") is not None and _began(state["group"]) == state["began"]


def _why_left_out(bundle: Bundle, step: "dict[str, Any]") -> "str | None":
    """Why a step is not done; None if it is."""
    name = step["name"]
    if name == "install":
        return "done before" if bundle.is_installed else None
    if name == "layers":
        has_one = any(bundle.engine(one).is_file() for one in bundle.models(step["models"]))
        return None if has_one else "there is no engine"
    if name == "build" and step["if_missing"]:
        return _why_not_built(bundle, step)
    return None


def _why_not_built(bundle: Bundle, step: "dict[str, Any]") -> "str | None":
    """Why no engine is built: there is no TensorRT, or the same one has built them."""
    graphs = {name: file for name, file in bundle.models(step["models"]).items() if file.endswith(".onnx")}
    if not graphs:
        return "there is no .onnx file in the bundle"
    version = bundle.tensorrt()
    if version is None:
        return "there is no TensorRT"
    built = read_json(bundle.folder / INSTALLED / ENGINES / BUILT) or {}
    is_same = all(built.get(name) == version and bundle.engine(name).is_file() for name in graphs)
    return f"done before, by TensorRT {version}" if is_same else None


def _commands(bundle: Bundle, step: "dict[str, Any]") -> "Iterator[tuple[str, list[str]]]":
    """The name of the result of each command of a step, and its words behind ``sh run.sh``."""
    name, models = step["name"], bundle.models(step["models"])
    if name == "install":
        yield name, ["install"]
    elif name in ("build", "verify"):
        yield name, [name, *models]
    elif name == "layers":
        for one in models:
            if bundle.engine(one).is_file():
                yield f"layers-{one}", ["edgestill", "inspect", str(bundle.engine(one)), "--layers"]
    else:
        files = [bundle.best(one, file) for one, file in models.items()]
        yield name, ["edgestill", name, *files, *step["words"]]


class _Runner:
    """Runs the steps of a job.

    Args:
        bundle: The bundle.
        folder: The folder of the job.
        log: Its log.
    """

    def __init__(self, bundle: Bundle, folder: Path, log: BinaryIO) -> None:
        self._bundle, self._folder, self._log = bundle, folder, log
        self._state: dict[str, Any] = {"state": "running", "skipped": {}}

    def run(self, steps: "list[dict[str, Any]]") -> None:
        """Run them; the state says how they ended."""
        try:
            for step in steps:
                if self._state["state"] == "running":
                    self._run_step(step)
            if self._state["state"] == "running":
                self._state["state"] = "done"
        except OSError as error:
            what = f"{error.filename or self._folder}: {error.strerror}"
            hint = "check the free space and the permissions there, then repeat the command"
            self._state.update(state="failed", code=5, what=what, hint=hint)
        write_json(self._folder / "state.json", self._state)

    def _run_step(self, step: "dict[str, Any]") -> None:
        name = step["name"]
        reason = _why_left_out(self._bundle, step)
        if reason is not None:
            self._state["skipped"][name] = reason
            self._log.write(f"{name}: {reason}\n".encode())
            return
        for result, words in _commands(self._bundle, step):
            self._log.write(f"{result} ...\n".encode())
            code = self._run_command(result, words, step)
            is_stopped = (self._folder / "stop").exists()
            if is_stopped or code:
                self._state.update(_end_of(code, self._folder / "log", is_stopped))
                return
        if name == "build":
            _note_builder(self._bundle, step)

    def _run_command(self, result: str, words: "list[str]", step: "dict[str, Any]") -> int:
        """Run ``run.sh`` with some words in ``out/``; what it prints becomes ``results/RESULT.json``."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        if step.get("python"):
            clean["PYTHON"] = str(Path(step["python"]).expanduser())
        with (self._folder / "results" / f"{result}.json").open("wb") as out:
            child = subprocess.Popen(
                ["sh", str(self._bundle.folder / "run.sh"), *words],
                cwd=str(self._folder / "out"),
                env=clean,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=self._log,
                start_new_session=True,
            )
        self._state.update(step=step["name"], group=child.pid, began=_began(child.pid))
        write_json(self._folder / "state.json", self._state)
        waits = pauses()
        while child.poll() is None and not (self._folder / "stop").exists():
            time.sleep(next(waits))
        if child.poll() is None:
            _end(child)
        end_group(child.pid)  # what the step itself left running
        return int(child.wait())


def _end(child: "subprocess.Popen[bytes]") -> None:
    """End a step: as by Ctrl-C first, so that it closes its files."""
    for number, patience_s in ENDING:
        os.killpg(child.pid, number)
        try:
            child.wait(patience_s)
        except subprocess.TimeoutExpired:
            continue
        return


def _end_of(code: int, log: Path, is_stopped: bool) -> "dict[str, Any]":
    """What the state says of the end of a step that was stopped or has failed."""
    if is_stopped:
        return {"state": "stopped", "code": code}
    if code < 0:
        name = signal.Signals(-code).name
        return {
            "state": "failed",
            "code": 5,
            "what": f"it was ended there by {name}",
            "hint": "dmesg there says whether memory ran out; fetch brings the log",
        }
    with log.open("rb") as stream:
        stream.seek(max(log.stat().st_size - LAST, 0))
        lines = [line for line in stream.read().decode("utf-8", "replace").splitlines() if line.strip()]
    if len(lines) > 1 and lines[-1].startswith("  hint: "):
        what, hint = lines[-2].partition(": ")[2] or lines[-2], lines[-1][len("  hint: ") :]
    else:
        what, hint = lines[-1] if lines else f"exit code {code}", "fetch brings the log"
    return {"state": "failed", "code": code, "what": what, "hint": hint}


def _note_builder(bundle: Bundle, step: "dict[str, Any]") -> None:
    """Note which TensorRT has built the engines: another one does not load them."""
    built = dict.fromkeys(bundle.models(step["models"]), bundle.tensorrt())
    path = bundle.folder / INSTALLED / ENGINES / BUILT
    write_json(path, {**(read_json(path) or {}), **built})


def _began(pid: int) -> "str | None":
    """What tells a process from a later one of the same number: the boot, and its start in clock ticks."""
    try:
        ticks = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[19]
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text('utf-8').strip()} {ticks}"
    except (OSError, IndexError):
        return None
