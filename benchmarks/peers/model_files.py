"""The model files that are compared: ours, and those that other tools quantise from the same FP32 file.

All have the same input and the same raw output, so that a difference of time is one of the network. Each file
is built once and kept with its hash. Every quantiser gets the same calibration images: those that ``edgestill
export`` chose, in the pre-processing of the runtime.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import edgestill
from benchmarks.peers.environments import ENVIRONMENTS, FOLDER, program_of
from benchmarks.peers.process import run_captured
from devices.int8_saturation import saturates_here
from edgestill.dataset import read_image
from edgestill.errors import DataError, DeviceError
from edgestill.files import read_json, replacing, sha256_file, write_json
from edgestill.manifest import read_manifest
from edgestill.progress import say
from edgestill.spec import ModelSpec
from runtime.letterbox import letterbox

#: Names of the detection head of a YOLOv5, whose boxes and scores lose most when they are quantised. The last
#: joins boxes of hundreds of pixels and scores below 1, for which the 8 bits of one scale are far too few.
HEAD = r"(model\.24\..*|output0)"
QUANTIZERS = Path(__file__).with_name("quantizers")
CHECKED_ON = 32  # images on which `edgestill export` compares a file before it publishes it
SUFFIXES: Mapping[str, str] = {"ort": ".onnx", "ov": ".xml", "trt": ".trt.engine"}
TARGETS: Mapping[str, str] = {"ort": "onnx", "ov": "openvino", "trt": "tensorrt"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """A file of the comparison.

    Attributes:
        key: Its name, without suffix.
        backend: ``ort``, ``ov`` or ``trt``.
        precision: ``fp32``, ``fp16`` or ``int8``.
        maker: Who quantised it.
        environment: The environment of the tool that makes it; None for ``edgestill export``.
        arguments: Of that tool.
    """

    key: str
    backend: str
    precision: str
    maker: str = "edgestill"
    environment: str | None = None
    arguments: tuple[str, ...] = ()


def _own(backend: str, *precisions: str) -> Iterator[ModelFile]:
    for precision in precisions:
        yield ModelFile(key=f"{backend}-{precision}", backend=backend, precision=precision)


def _of_nncf(key: str, maker: str, *arguments: str) -> ModelFile:
    return ModelFile(
        key=key,
        backend="ov",
        precision="int8",
        maker=maker,
        environment="openvino",
        arguments=("nncf_int8.py", *arguments),
    )


def _of_ort(key: str, maker: str, *arguments: str) -> ModelFile:
    return ModelFile(
        key=key,
        backend="ort",
        precision="int8",
        maker=maker,
        environment="onnxruntime",
        arguments=("ort_int8.py", *arguments),
    )


def model_files() -> tuple[ModelFile, ...]:
    """The files that make sense on this machine; engines where TensorRT or its ``trtexec`` is."""
    reduced = ("--reduce-range",) if saturates_here() else ()
    head_out = ("--leave-out", HEAD)
    files = [
        *_own("ort", "fp32", "int8"),
        _of_ort("ort-int8-defaults", "ONNX Runtime, defaults"),
        _of_ort(
            "ort-int8-recommended",
            "ONNX Runtime, per channel, head float",
            "--recommended",
            *head_out,
            *reduced,
        ),
        *_own("ov", "fp32", "int8"),
        _of_nncf("ov-int8-nncf", "NNCF, defaults"),
        _of_nncf("ov-int8-nncf-mixed", "NNCF, mixed, head float", "--preset", "mixed", *head_out),
    ]
    if find_spec("tensorrt") or shutil.which("trtexec"):
        files += _own("trt", "fp32", "fp16", "int8")
    return tuple(files)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """Builds the files of one model in a folder.

    Attributes:
        model: What ``edgestill export`` takes: a checkpoint or its name.
        folder: Where the files are kept.
        data: The data set of the calibration images; None if there are none.
        imgsz: Input size as for ``edgestill export``; None for the checkpoint's.
        peers: Where the environments are.
    """

    model: str
    folder: Path
    data: Path | None = None
    imgsz: str | None = None
    peers: Path = FOLDER

    def path(self, file: ModelFile) -> Path:
        """Where a file is, or will be."""
        return self.folder / f"{file.key}{SUFFIXES[file.backend]}"

    def build(self, file: ModelFile) -> str:
        """Build a file, unless it is there unchanged.

        Returns:
            SHA-256 of the file, with the weights of an OpenVINO file.

        Raises:
            ToolchainError: It cannot be built: what its tool said.
        """
        if file.precision == "int8" and self.data is None:
            raise DataError("INT8 needs images to calibrate on", hint="--data DATA.yaml")
        path, record = self.path(file), self.folder / f"{file.key}.json"
        command = self._command(file)
        known = read_json(record, hint="delete it") if record.is_file() else {}
        made_from = self._made_from(file)
        if path.is_file() and known == {**made_from, "sha256": (digest := digest_of(path))}:
            return digest
        say(f"build {path.name}")
        if file.environment:
            command[0] = str(program_of(file.environment, "python", self.peers))
            self._write_calibration()
            self._replace(path, command)
        else:
            run_captured(command)
        write_json(record, {**made_from, "sha256": (digest := digest_of(path))})
        return digest

    def _made_from(self, file: ModelFile) -> dict[str, Any]:
        """What a file depends on: if it changes, the file is built again."""
        if file.environment is None:
            return {"arguments": self._command(file)[1:], "made_with": [edgestill.__version__]}
        return {
            "arguments": self._command(file)[1:],
            "made_with": ENVIRONMENTS[file.environment].pins,
            "source": digest_of(self._source_of(file)),
        }

    def _source_of(self, file: ModelFile) -> Path:
        """The FP32 file of the same backend."""
        path = self.folder / f"{file.backend}-fp32{SUFFIXES[file.backend]}"
        if not path.is_file():
            raise DeviceError(f"the FP32 file {path.name} is missing", hint="see its row")
        return path

    def _command(self, file: ModelFile) -> list[str]:
        path = self.path(file)
        if file.environment:
            script, *arguments = file.arguments
            source = self._source_of(file)
            calibration = ["--calibration", str(self._calibration), "--scale", str(self.spec().scale)]
            return [
                file.environment,
                str(QUANTIZERS / script),
                str(source),
                str(path),
                *calibration,
                *arguments,
            ]
        command = [sys.executable, "-m", "edgestill", "export", self.model, "--quiet"]
        command += ["--to", TARGETS[file.backend], "--precision", file.precision, "--output", "raw"]
        command += ["--out", str(self.folder), "--name", file.key, "--force"]
        if self.imgsz:
            command += ["--imgsz", self.imgsz]
        if file.precision == "int8" and self.data:
            command += ["--calib", str(self.data), "--images", str(CHECKED_ON)]
        return command

    @property
    def _calibration(self) -> Path:
        """The file of the calibration inputs, named by their content."""
        text = " ".join([*self.calibration_images().values(), *map(str, self.spec().input_hw)])
        return self.folder / f"calibration-{hashlib.sha256(text.encode()).hexdigest()[:8]}.npy"

    def _replace(self, path: Path, command: list[str]) -> None:
        """Run a tool that writes ``path``; an interrupted one leaves no half file under that name."""
        with replacing(path) as temporary:
            run_captured([str(temporary) if word == str(path) else word for word in command])
            weights = temporary.with_suffix(".bin")
            if weights.is_file():
                weights.replace(path.with_suffix(".bin"))

    def calibration_images(self) -> dict[Path, str]:
        """SHA-256 by calibration image, from the manifest of the INT8 file.

        Raises:
            DataError: There is none yet.
        """
        for backend in ("ort", "ov", "trt"):
            path = self.folder / f"{backend}-int8{SUFFIXES[backend]}"
            manifest = read_manifest(path) if path.is_file() else None
            if manifest is not None and manifest.calibration is not None:
                root = Path(manifest.calibration["data"]).parent
                return {root / name: digest for name, digest in manifest.calibration["images"].items()}
        raise DataError(
            "there is no INT8 file of edgestill, which chooses the calibration images",
            hint="see the row of that file",
        )

    def spec(self) -> ModelSpec:
        """Input size and classes, from the manifest of an FP32 file.

        Raises:
            DeviceError: There is none.
        """
        for backend in ("ort", "ov", "trt"):
            path = self.folder / f"{backend}-fp32{SUFFIXES[backend]}"
            manifest = read_manifest(path) if path.is_file() else None
            if manifest is not None and isinstance(manifest.spec, ModelSpec):
                return manifest.spec
        raise DeviceError("no FP32 file could be built", hint="see the rows of edgestill, fp32")

    def _write_calibration(self) -> None:
        """Write the calibration inputs, uint8 ``[N, 3, H, W]``, unless they are there."""
        if self._calibration.is_file():
            return
        images, spec = [*self.calibration_images()], self.spec()
        shape = (len(images), 3, *spec.input_hw)
        with replacing(self._calibration) as temporary:
            inputs = np.lib.format.open_memmap(temporary, "w+", np.uint8, shape)
            for row, image in zip(inputs, images, strict=True):
                padded, _ = letterbox(read_image(image), spec)
                row[:] = (padded if spec.pixel_order == "bgr" else padded[:, :, ::-1]).transpose(2, 0, 1)
            inputs.flush()
            del inputs


def digest_of(path: Path) -> str:
    """SHA-256 of a file, and of an OpenVINO file's weights."""
    weights = path.with_suffix(".bin")
    return "-".join(sha256_file(one) for one in (path, weights) if one == path or weights.is_file())
