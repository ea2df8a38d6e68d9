"""No file that somebody else made runs code here: no door to pickle, YAML objects or eval stands open."""

from __future__ import annotations

import ast
import io
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from edgestill.cli.main import main

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("edgestill", "devices", "runtime", "export", "distill", "benchmarks")
#: Arguments of the calls of ``yaml.load``: subclasses of SafeLoader that make plain data, see the test below.
SAFE_LOADERS = (["_Loader"], ["_StringLoader"])
#: Modules whose readers run what the file says.
FORBIDDEN_IMPORTS = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__", "input"}
#: Where torch may read a file, and then with ``weights_only``.
MAY_LOAD = {"distill/checkpoints/safe_unpickle.py", "distill/training/resume.py"}


@cache
def sources() -> list[tuple[str, ast.AST]]:
    """The project's modules by path."""
    paths = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    return [(p.relative_to(ROOT).as_posix(), ast.parse(p.read_text("utf-8"))) for p in paths]


def called(node: ast.AST) -> str:
    """The dotted name that a call goes to; empty for anything else."""
    return ast.unparse(node.func) if isinstance(node, ast.Call) else ""


def option(node: ast.AST, name: str) -> str:
    """The source of a call's keyword argument; empty without it."""
    assert isinstance(node, ast.Call)
    return next((ast.unparse(k.value) for k in node.keywords if k.arg == name), "")


def test_nothing_imports_a_reader_that_runs_what_it_reads() -> None:
    found = [
        (where, name)
        for where, tree in sources()
        for node in ast.walk(tree)
        for name in (
            [a.name for a in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
        if name.partition(".")[0] in FORBIDDEN_IMPORTS
    ]
    assert found == []


def test_every_reader_is_told_to_read_values_only() -> None:
    wrong = []
    for where, tree in sources():
        for node in ast.walk(tree):
            name = called(node)
            end = name.rpartition(".")[2]
            if name in FORBIDDEN_CALLS:
                wrong.append((where, name))
            if name in {"torch.load", "torch.jit.load", "torch.package.PackageImporter"}:
                is_safe = where in MAY_LOAD and option(node, "weights_only") == "True"
                wrong += [] if is_safe else [(where, name)]
            if name in {"np.load", "numpy.load"} and option(node, "allow_pickle") != "False":
                wrong.append((where, name))
            if name in {"yaml.load_all", "yaml.unsafe_load", "yaml.full_load"}:
                wrong.append((where, name))
            if name == "yaml.load":
                assert isinstance(node, ast.Call)
                is_safe = [ast.unparse(loader) for loader in node.args[1:]] in SAFE_LOADERS
                wrong += [] if is_safe else [(where, name)]
            if end in {"run", "Popen", "check_output", "call"} and option(node, "shell") not in {"", "False"}:
                wrong.append((where, name))
            if end in {"extractall", "unpack_archive"} and not option(node, "filter"):
                wrong.append((where, name))
    assert wrong == []


def test_the_yaml_reader_of_data_sets_makes_no_objects() -> None:
    import yaml

    from distill.datasets.formats._files import _StringLoader
    from edgestill.dataset_files.data_yaml import _Loader

    assert issubclass(_Loader, yaml.SafeLoader)
    assert issubclass(_StringLoader, (yaml.SafeLoader, yaml.CSafeLoader))
    with pytest.raises(yaml.constructor.ConstructorError):
        yaml.load("!!python/object/apply:os.getcwd []", _Loader)


# --- the doors, tried


class Payload:
    """Leaves a trace when somebody careless unpickles it."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.trace,)


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return tmp_path / "it-ran"


def hostile_pt(folder: Path, trace: Path) -> Path:
    import torch

    torch.save({"model": Payload(trace)}, folder / "x.pt")
    return folder / "x.pt"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    import cv2

    for folder in ("images/train", "labels/train"):
        (tmp_path / folder).mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "images/train/a.png"), np.zeros((32, 32, 3), np.uint8))
    (tmp_path / "labels/train/a.txt").write_text("0 0.5 0.5 0.25 0.5\n")
    (tmp_path / "data.yaml").write_text("path: .\ntrain: images/train\nval: images/train\nnames: [red]\n")
    return tmp_path / "data.yaml"


@pytest.mark.parametrize(
    "words",
    [
        ["export", "{}", "--to", "onnx", "--precision", "fp32"],
        ["eval", "{}", "--data", "data.yaml"],
        ["run", "{}", "--source", "images/train/a.png"],
        ["inspect", "{}"],
        ["inspect", "{}", "--lint"],
        ["bench", "{}"],
        ["distill", "traffic-lights", "--data", "data.yaml", "--set", "teacher={}", "--out", "run"],
    ],
    ids=lambda words: "-".join(w for w in words[:3] if w.isalpha()),
)
def test_no_verb_runs_a_checkpoint(
    words: list[str], data: Path, trace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    monkeypatch.chdir(data.parent)
    path = hostile_pt(data.parent, trace)
    assert main([w.format(path) for w in words]) == 4
    assert not trace.exists()


@pytest.mark.parametrize("suffix", [".onnx", ".xml", ".engine", ".safetensors"])
def test_no_verb_runs_a_checkpoint_by_another_name(suffix: str, data: Path, trace: Path) -> None:
    pytest.importorskip("torch")
    path = hostile_pt(data.parent, trace).rename(data.parent / f"x{suffix}")
    path.with_suffix(".bin").write_bytes(b"")
    assert main(["eval", str(path), "--data", str(data)]) in {4, 5}
    assert not trace.exists()


def test_a_checkpoint_folder_is_not_unpickled(data: Path, trace: Path) -> None:
    pytest.importorskip("torch")
    folder = data.parent / "best"
    folder.mkdir()
    hostile_pt(data.parent, trace).rename(folder / "model.safetensors")
    (folder / "spec.json").write_text("{}")
    assert main(["eval", str(folder), "--data", str(data)]) == 4
    assert not trace.exists()


def test_what_is_known_of_a_data_set_is_not_unpickled(data: Path, trace: Path) -> None:
    """Other tools keep pickles beside labels, and read them on trust."""
    with (data.parent / "labels" / "train.cache").open("wb") as stream:
        np.save(stream, np.array({"labels": Payload(trace)}, dtype=object))
    assert main(["data", "check", str(data)]) in {0, 3}
    assert not trace.exists()


def test_findings_of_a_study_are_not_unpickled(tmp_path: Path, trace: Path) -> None:
    pytest.importorskip("torch")
    from distill.study.scoring import load_detections

    stored = io.BytesIO()
    np.save(stored, np.array([Payload(trace)], dtype=object))
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("images.npy", stored.getvalue())
    with pytest.raises(ValueError, match="allow_pickle"):
        load_detections(tmp_path / "x.npz")
    assert not trace.exists()


def test_the_state_of_a_run_is_not_unpickled(tmp_path: Path, trace: Path) -> None:
    torch = pytest.importorskip("torch")
    from types import SimpleNamespace

    from distill.training.resume import STATE, load_state
    from edgestill.errors import ArtifactError

    hostile_pt(tmp_path, trace).rename(tmp_path / STATE)
    run = SimpleNamespace(folder=tmp_path, compute=SimpleNamespace(device=torch.device("cpu")))
    with pytest.raises(ArtifactError, match="cannot be resumed"):
        load_state(run)  # type: ignore[arg-type]
    assert not trace.exists()


def test_a_data_set_description_makes_no_objects(data: Path, trace: Path) -> None:
    data.write_text(
        f"names: !!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path ['{trace}']]\n"
    )
    assert main(["data", "check", str(data)]) == 3
    assert not trace.exists()


def test_the_payload_would_run(tmp_path: Path, trace: Path) -> None:
    """Without this, the tests above would prove nothing."""
    torch = pytest.importorskip("torch")
    torch.load(hostile_pt(tmp_path, trace), weights_only=False)
    assert trace.exists()
