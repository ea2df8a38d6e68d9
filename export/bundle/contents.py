"""What a bundle holds: names, limits and the index ``bundle.json``.

A bundle is a tar archive, ``FILE.tar.zst`` compressed with Zstandard or ``FILE.tar`` without compression, of
regular files in this order:

    SHA256SUMS                  SHA-256 of every file below, in the form that ``sha256sum --check`` reads
    SHA256SUMS.sig              optional: an SSH signature of SHA256SUMS, see ``export.bundle.signature``
    bundle.json                 the index, see ``BundleIndex``
    install.py                  checks, installs and uninstalls; needs Python's standard library only
    models/NAME/...             a model file, its manifest, spec.json, calibration.json, parity.npz
    run.sh                      POSIX sh; its verbs are those of ``RUN_VERBS``
    wheels/*.whl                edgestill, the packages that it needs, and pip

Unpacked into a folder, ``sh run.sh install`` adds one folder, ``installed/``:

    installed/venv/             the Python environment
    installed/engines/          TensorRT engines of ``sh run.sh build``, with their manifests
    installed/cache/, data/     what edgestill writes to the home folder elsewhere
    installed/complete.json     written last: an installation without it was interrupted

``sh run.sh uninstall`` removes ``installed/`` and the files of the bundle.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from edgestill.errors import ArtifactError
from edgestill.target import FILE_PRECISIONS, FilePrecision

KIND, SCHEMA = "edgestill-bundle", 1
SUMS, SIGNATURE, INDEX = "SHA256SUMS", "SHA256SUMS.sig", "bundle.json"
INSTALLER, RUNNER = "install.py", "run.sh"
MODELS, WHEELS, INSTALLED, ENGINES = "models", "wheels", "installed", "engines"
#: Verbs of ``run.sh``. ``edgestill VERB ...`` runs any verb of the installed edgestill.
RUN_VERBS = ("check", "install", "verify", "build", "edgestill", "uninstall")
SUFFIXES = (".tar.zst", ".tar")

MAX_FILES = 2000
MAX_BYTES = 8 << 30  # of all files, unpacked; the largest file that a ustar header can describe
MAX_LIST_BYTES = 1 << 20  # of SHA256SUMS, its signature and the index each
MAX_NAME = 200  # characters of a name in the archive
#: Parts of names are plain, so that they mean the same to tar, sha256sum, a shell and every file system.
_PART = r"[A-Za-z0-9][A-Za-z0-9._+!-]*"
_NAME = re.compile(rf"{_PART}(/{_PART}){{0,2}}")


def is_plain_name(name: str) -> bool:
    """Whether a file of a bundle may have this name: relative, at most two folders deep, plain ASCII."""
    return len(name) <= MAX_NAME and _NAME.fullmatch(name) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityLimits:
    """The largest differences between the outputs here and on the device.

    Attributes:
        score: Of the score of a detection.
        box_px: Of a corner of its box, pixels of the network's input.
    """

    score: float
    box_px: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BundledModel:
    """A model of a bundle.

    Attributes:
        name: Its name; the folder ``models/NAME`` has its files.
        file: Path of the model file in the bundle, ``.onnx`` or OpenVINO ``.xml``.
        precision: Precision of the graph.
        parity: Path of the parity vectors, see ``export.bundle.parity``.
        detections: Confident detections in the parity vectors.
        limits: By which parity on the device is decided.
        reference: What computed the expected outputs: ``backend``, ``device``, ``machine`` and ``version``.
    """

    name: str
    file: str
    precision: FilePrecision
    parity: str
    detections: int
    limits: ParityLimits
    reference: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleIndex:
    """The content of ``bundle.json``.

    Attributes:
        edgestill: Version of edgestill in the bundle.
        device: The device that it was made for: a key of ``edgestill devices``, or an architecture.
        machine: Architecture, as ``platform.machine()`` names it: ``x86_64`` or ``aarch64``.
        system_packages: Whether the environment also sees the packages of the system's Python: OpenCV and
            TensorRT of JetPack.
        wheels: By Python version, e.g. ``"3.10"``, the paths of the wheels that are installed, without pip.
        pip: Path of pip's wheel, which installs the others.
        models: The models, by name.
    """

    edgestill: str
    device: str
    machine: str
    system_packages: bool
    wheels: Mapping[str, tuple[str, ...]]
    pip: str
    models: tuple[BundledModel, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON data that ``from_json`` reads."""
        return {"kind": KIND, "schema": SCHEMA, **asdict(self)}

    @classmethod
    def from_json(cls, data: Any) -> BundleIndex:
        """The index of ``to_json``'s data.

        Raises:
            ArtifactError: A field is missing, or has another type or value.
        """
        try:
            _check_kind(data)
            models = tuple(_model(entry) for entry in data["models"])
            wheels = {_text(python): tuple(map(_name, paths)) for python, paths in data["wheels"].items()}
            return cls(
                edgestill=_text(data["edgestill"]),
                device=_text(data["device"]),
                machine=_text(data["machine"]),
                system_packages=bool(data["system_packages"]),
                wheels=wheels,
                pip=_name(data["pip"]),
                models=models,
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ArtifactError(
                f"{INDEX} of the bundle is broken: {error!r}", hint="write the bundle again"
            ) from error

    def files(self) -> set[str]:
        """The paths that the index names."""
        named = {self.pip, *(path for paths in self.wheels.values() for path in paths)}
        return named | {path for model in self.models for path in (model.file, model.parity)}


def _check_kind(data: Any) -> None:
    if data["kind"] != KIND:
        raise ValueError(f"kind is {data['kind']!r}")
    if data["schema"] != SCHEMA:
        raise ArtifactError(
            f"the bundle has schema {data['schema']!r}, this edgestill reads {SCHEMA}",
            hint="write the bundle again, or use the edgestill that wrote it",
        )


def _model(data: Any) -> BundledModel:
    if data["precision"] not in FILE_PRECISIONS:
        raise ValueError(f"precision is {data['precision']!r}")
    limits = {name: float(data["limits"][name]) for name in ("score", "box_px")}
    return BundledModel(
        name=_text(data["name"]),
        file=_name(data["file"]),
        precision=data["precision"],
        parity=_name(data["parity"]),
        detections=int(data["detections"]),
        limits=ParityLimits(**limits),
        reference={_text(key): _text(value) for key, value in data["reference"].items()},
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _name(value: Any) -> str:
    if not is_plain_name(_text(value)):
        raise ValueError(f"{value!r} is no name of a file in a bundle")
    return str(value)
