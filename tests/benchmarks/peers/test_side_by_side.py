"""The measurement as a whole: files, rounds, resumption and what is missing.

The programs are stand-ins: those that build parse their arguments as the real ones do, those that measure
give figures by a rule.
"""

import argparse
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from benchmarks.peers import model_files, side_by_side
from benchmarks.peers.process import Output
from benchmarks.peers.programs import Turn
from benchmarks.peers.side_by_side import Settings, measure
from edgestill.cli.main import _parse
from edgestill.errors import DataError, DeviceError, UsageError, VerificationError
from edgestill.manifest import Manifest, write_manifest
from edgestill.spec import ModelSpec

SPEC = ModelSpec(name="tiny", input_hw=(32, 32), classes=("red", "green"))
FACTOR = {"fp32": 1.0, "int8": 0.6}


class Quiet:
    """In place of ``benchmarks.measure.environment.Watch``, whose fixed workload takes a second."""

    def tick(self) -> None: ...

    def finish(self) -> dict[str, Any]:
        return {"doubts": ["a doubt of the machine"]}


class Programs:
    """Stand-ins for all programs, and what they were asked to do."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self.built: list[str] = []
        self.taken: list[str] = []
        self.broken: Mapping[str, Exception] = {}
        self.absent: set[str] = set()
        self.stop_at: int | None = None
        self.version = 1

    def run(self, command: Sequence[str], **_: Any) -> Output:
        if command[1:3] == ["-m", "edgestill"]:
            self._export(_parse(command[3], list(command[4:])))
        else:
            self._quantise(command)
        return Output(stdout="", cpu_s=0.0)

    def program_of(self, name: str, program: str, folder: Path) -> Path:
        if name in self.absent:
            raise DeviceError(f"the environment {folder / name} is missing", hint="make peers")
        return folder / name / program

    def take(self, program: str, turn: Turn) -> dict[str, Any]:
        row = f"{program} {turn.model.name.partition('.')[0]}"
        if row in self.broken:
            raise self.broken[row]
        if self.stop_at is not None and len(self.taken) >= self.stop_at:
            raise KeyboardInterrupt
        assert len(list(turn.images.iterdir())) == 16
        self.taken.append(row)
        return {"time_ms": 10 * FACTOR["int8" if "int8" in row else "fp32"], "process_cpu_s": 1.0}

    def _export(self, args: argparse.Namespace) -> None:
        suffix = {"onnx": ".onnx", "openvino": ".xml"}[args.to]
        path = args.out / f"{args.name}{suffix}"
        if args.name in self.broken:
            raise self.broken[args.name]
        assert (args.output, args.force, args.precision in args.name) == ("raw", True, True)
        assert (args.calib == self._data / "data.yaml") is (args.precision == "int8")
        self.built.append(args.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{args.name} {self.version}")
        images = {
            f"train/{p.name}": hashlib.sha256(p.read_bytes()).hexdigest()
            for p in (self._data / "train").iterdir()
        }
        calibration = {"data": str(self._data / "data.yaml"), "images": images}
        write_manifest(
            path,
            Manifest(
                spec=SPEC,
                format=args.to,
                files={},
                precision=args.precision,
                precision_proved={},
                inputs=(),
                outputs=(),
                built_with={},
                parent_sha256="",
                calibration=calibration if args.precision == "int8" else None,
            ),
        )

    def _quantise(self, command: Sequence[str]) -> None:
        parser = argparse.ArgumentParser(allow_abbrev=False)
        for name in ("source", "target"):
            parser.add_argument(name, type=Path)
        parser.add_argument("--calibration", type=Path, required=True)
        parser.add_argument("--scale", type=float, required=True)
        parser.add_argument("--leave-out")
        if Path(command[1]).name == "nncf_int8.py":
            parser.add_argument("--preset", choices=["performance", "mixed"])
        else:
            for name in ("--recommended", "--reduce-range"):
                parser.add_argument(name, action="store_true")
        args = parser.parse_args(command[2:])
        assert Path(command[1]).is_file()
        inputs = np.load(args.calibration)
        assert (inputs.shape, inputs.dtype) == ((3, 3, 32, 32), np.uint8)
        assert args.scale == pytest.approx(1 / 255)
        assert args.source.read_text() == f"{args.source.stem} 1"
        self.built.append(args.target.name.strip(".").partition(".")[0])
        args.target.write_text("quantised")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three images to calibrate on and two to evaluate on."""
    for split, count in (("train", 3), ("test", 2)):
        (tmp_path / "data" / split).mkdir(parents=True)
        for k in range(count):
            image = np.full((24, 48, 3), 40 * k + len(split), np.uint8)
            image[:, :, 0] = 200  # blue, to see the order of the channels
            cv2.imwrite(str(tmp_path / "data" / split / f"{k}.png"), image)
    return tmp_path / "data"


@pytest.fixture
def programs(data: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    found = Programs(data)
    monkeypatch.setattr(model_files, "find_spec", lambda name: None)
    monkeypatch.setattr(model_files.shutil, "which", lambda name: None)
    monkeypatch.setattr(model_files, "run_captured", found.run)
    monkeypatch.setattr(model_files, "program_of", found.program_of)
    monkeypatch.setattr(side_by_side, "for_yolo", lambda model: model)
    monkeypatch.setattr(side_by_side, "take", found.take)
    monkeypatch.setattr(side_by_side, "Watch", Quiet)
    return found


@pytest.fixture
def settings(data: Path, tmp_path: Path) -> Callable[..., Settings]:
    images = tuple(sorted((data / "test").iterdir()))

    def make(**changed: Any) -> Settings:
        values = {"model": "student", "work": tmp_path / "work", "data": data / "data.yaml", "images": images}
        return Settings(**{**values, "threads": 1, "rounds": 3, **changed})

    return make


def nothing(files: Mapping[str, Path]) -> Mapping[str, Mapping[str, Any]]:
    return {key: {"map50_95": 0.5} for key in files}


def by_name(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {f"{row['program']} {row['file'].partition('.')[0]}": row for row in result["rows"]}


def test_each_round_has_one_turn_of_each_row_in_alternating_order(
    programs: Programs, settings: Callable[..., Settings]
) -> None:
    result = measure(settings(rounds=8), nothing)
    rows = by_name(result)
    taken = programs.taken
    assert taken[: len(rows)] == [*rows]
    assert taken[len(rows) : 2 * len(rows)] == [*rows][::-1]
    assert len(taken) == 8 * len(rows)
    assert (result["complete"], result["rounds_done"]) == (True, 8)
    assert (result["calibration_images"], result["evaluation_images"]) == (3, 2)
    ours = rows["edgestill ov-int8"]
    assert (ours["ratio"], ours["low"], ours["high"]) == (0.6, 0.6, 0.6)
    assert (ours["against"], ours["map50_95"]) == ("edgestill ov-fp32", 0.5)
    assert rows["edgestill ort-int8-defaults"]["quantised_by"] == "ONNX Runtime, defaults"


def test_the_peers_get_the_calibration_images_as_the_network_sees_them(
    programs: Programs, settings: Callable[..., Settings], tmp_path: Path
) -> None:
    measure(settings(rounds=0), nothing)
    (path,) = (tmp_path / "work" / "files").glob("calibration-*.npy")
    inputs = np.load(path)
    middle = inputs[:, :, 16, 16]
    assert (middle[:, 2] == 200).all()  # RGB: blue is the last channel
    assert sorted(middle[:, 0]) == [5, 45, 85]
    assert (inputs[:, :, 0, 0] == SPEC.pad_value).all()


def test_a_stopped_measurement_continues_where_it_was(
    programs: Programs, settings: Callable[..., Settings]
) -> None:
    programs.stop_at = 20
    with pytest.raises(KeyboardInterrupt):
        measure(settings(), nothing)
    built = [*programs.built]
    programs.stop_at = None
    result = measure(settings(), nothing)
    assert programs.built == built  # no file was built again
    assert len(programs.taken) == 3 * len(result["rows"])
    assert result["complete"]
    assert any("1 rounds were interrupted" in doubt for doubt in result["doubts"])


def test_no_round_begins_that_would_not_end_in_time(
    programs: Programs, settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 100_000, 10))  # each look at the clock is 10 s later; a round takes 10 s
    monkeypatch.setattr(side_by_side, "perf_counter", lambda: float(next(clock)))
    result = measure(settings(rounds=8, stop_after_s=45.0), nothing)
    assert (result["complete"], result["rounds_done"]) == (False, 2)
    assert any("2 rounds are too few for an interval" in doubt for doubt in result["doubts"])
    assert by_name(result)["edgestill ov-int8"]["low"] is None
    assert "a doubt of the machine" in result["doubts"]
    assert measure(settings(), nothing)["complete"]


def test_a_missing_environment_is_an_empty_row_with_its_reason(
    programs: Programs, settings: Callable[..., Settings]
) -> None:
    programs.absent = {"openvino"}
    programs.broken = {"yolo predict ov-fp32": DeviceError("the environment is missing", hint="make peers")}
    result = measure(settings(), nothing)
    rows = by_name(result)
    for name in ("edgestill ov-int8-nncf", "yolo predict ov-fp32"):
        assert rows[name]["time_ms"] is rows[name]["ratio"] is None
        assert "is missing" in rows[name]["missing"]
        assert rows[name]["hint"] == "make peers"
    assert rows["edgestill ort-int8-defaults"]["ratio"] == 0.6
    assert result["complete"]  # of what can be run
    programs.absent, programs.broken = set(), {}
    later = by_name(measure(settings(), nothing))
    assert later["edgestill ov-int8-nncf"]["ratio"] == 0.6


def test_a_file_that_fails_its_verification_is_told_and_the_others_are_measured(
    programs: Programs, settings: Callable[..., Settings]
) -> None:
    programs.broken = {"ov-int8": VerificationError("mAP fell by 3 points", hint="more images")}
    rows = by_name(measure(settings(), nothing))
    assert rows["benchmark_app ov-int8"]["missing"] == "mAP fell by 3 points"
    assert rows["edgestill ov-int8-nncf"]["ratio"] == 0.6


def test_without_any_fp32_file_the_first_error_ends_the_measurement(
    programs: Programs, settings: Callable[..., Settings]
) -> None:
    error = DataError("no such checkpoint", hint="name one")
    programs.broken = {"ort-fp32": error, "ov-fp32": error}
    with pytest.raises(DataError, match="no such checkpoint"):
        measure(settings(), nothing)


def test_an_image_that_was_calibrated_on_is_not_evaluated_on(
    programs: Programs, settings: Callable[..., Settings], data: Path
) -> None:
    images = tuple(sorted((data / "train").iterdir()))[:1]
    with pytest.raises(DataError, match=r"1 images are both calibrated and evaluated on, e\.g\. .*0\.png"):
        measure(settings(images=images), nothing)


def test_without_data_there_is_no_int8_and_streets_are_drawn(
    programs: Programs, settings: Callable[..., Settings]
) -> None:
    result = measure(settings(data=None, images=()), lambda files: {})
    rows = by_name(result)
    assert rows["edgestill ov-int8"]["missing"] == "INT8 needs images to calibrate on"
    assert rows["benchmark_app ov-fp32"]["ratio"] == 1
    assert result["calibration_images"] == 0


def test_a_file_that_was_built_anew_needs_new_turns(
    programs: Programs, settings: Callable[..., Settings], tmp_path: Path
) -> None:
    measure(settings(), nothing)
    (tmp_path / "work" / "files" / "ov-int8.xml").unlink()
    programs.built.clear()
    programs.taken.clear()
    programs.version = 2
    measure(settings(), nothing)
    assert programs.built == ["ov-int8"]
    own = [f"{program} ov-int8" for program in ("edgestill", "benchmark_app", "yolo predict")]
    assert programs.taken == [*own, *own[::-1], *own]


def test_a_folder_serves_one_measurement(programs: Programs, settings: Callable[..., Settings]) -> None:
    measure(settings(rounds=0), nothing)
    with pytest.raises(UsageError, match="holds a measurement with other settings: imgsz"):
        measure(settings(rounds=0, imgsz="64"), nothing)
    with pytest.raises(UsageError, match="nothing to measure"):
        settings(rounds=-1)
