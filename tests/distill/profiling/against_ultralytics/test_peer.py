"""The script for the package's Python, with a stand-in for the package."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from distill.profiling.against_ultralytics.arms import PEER

JOB = {"student": "yolov5n", "teacher": "yolov5s", "nc": 2, "threads": 0}


class Network:
    """What the script needs of ``ultralytics.YOLO``."""

    trained: dict[str, Any]

    def __init__(self, source: object) -> None:
        self.source = source
        self.model: Any = SimpleNamespace(yaml={"of": source})
        self.callbacks: dict[str, Any] = {}

    def save(self, path: Path) -> None:
        Path(path).write_text(str(self.model))

    def add_callback(self, event: str, call: Any) -> None:
        self.callbacks[event] = call

    def train(self, **settings: Any) -> None:
        Network.trained = {"student": self.source, **settings}
        loader = SimpleNamespace(dataset=[0] * 8, num_workers=0)
        arguments = SimpleNamespace(amp=settings.get("amp", True))
        self.trainer = SimpleNamespace(train_loader=loader, optimizer=[], args=arguments, amp=False)
        self.callbacks.get("on_train_start", lambda _: None)(self.trainer)
        for _ in range(settings["epochs"]):
            self.callbacks["on_train_epoch_start"](self.trainer)
            self.callbacks["on_train_epoch_end"](self.trainer)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The script's names."""
    contents: dict[str, dict[str, Any]] = {
        "ultralytics": {"YOLO": Network},
        "ultralytics.cfg": {"DEFAULT_CFG_DICT": {"distill_model": None}},
        "ultralytics.nn": {},
        "ultralytics.nn.tasks": {"DetectionModel": lambda cfg, nc, verbose: (cfg["of"], nc)},
        "ultralytics.engine": {},
        "ultralytics.engine.trainer": {"autocast": None},
    }
    for name, values in contents.items():
        module = ModuleType(name)
        vars(module).update(values)
        monkeypatch.setitem(sys.modules, name, module)
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)
    return runpy.run_path(str(PEER), run_name="peer")


def test_both_networks_start_fresh_with_the_classes_of_the_data(
    script: dict[str, Any], tmp_path: Path
) -> None:
    result = script["train"]({**JOB, "out": str(tmp_path), "settings": {"epochs": 2, "imgsz": 64}})
    assert Path(Network.trained["student"]).read_text() == "('yolov5n.yaml', 2)"
    assert Path(Network.trained["distill_model"]).read_text() == "('yolov5s.yaml', 2)"
    assert Network.trained["imgsz"] == 64
    assert [epoch["images"] for epoch in result["epochs"]] == [8, 8]
    assert all(epoch["seconds"] > 0 for epoch in result["epochs"])
    assert result["amp"] is False
    assert sys.modules["ultralytics.engine.trainer"].autocast is None  # nothing is changed at the defaults


def test_the_package_has_its_own_threads_unless_it_is_given_some(
    script: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    given: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", given.append)
    job = {**JOB, "out": str(tmp_path), "settings": {"epochs": 1}}
    script["train"](job)
    assert given == []
    script["train"]({**job, "threads": 3})
    assert given == [3]


def test_bf16_is_allowed_on_a_cpu(script: dict[str, Any], tmp_path: Path) -> None:
    import torch

    script["train"]({**JOB, "out": str(tmp_path), "settings": {"epochs": 1, "amp": "bf16"}})
    with sys.modules["ultralytics.engine.trainer"].autocast(torch.bfloat16, device="cpu"):
        assert torch.is_autocast_enabled("cpu")
        assert torch.get_autocast_dtype("cpu") == torch.bfloat16


def test_it_imports_nothing_of_this_project() -> None:
    for line in PEER.read_text().splitlines():
        words = line.split()
        if words[:1] in (["import"], ["from"]):
            assert words[1].partition(".")[0] not in {"distill", "edgestill", "devices", "runtime", "export"}
