"""Write a bundle: models with the proof of their parity, and the wheels that they need."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import edgestill
from edgestill.errors import ArtifactError, UsageError
from edgestill.files import refuse_overwrite, sha256_file, to_json_text
from edgestill.manifest import Manifest, checked_manifest, manifest_path, read_manifest
from edgestill.target import FilePrecision
from export.bundle import on_device
from export.bundle.archive import Entries, write_archive
from export.bundle.contents import (
    INDEX,
    INSTALLER,
    MODELS,
    RUNNER,
    SIGNATURE,
    SUFFIXES,
    SUMS,
    WHEELS,
    BundledModel,
    BundleIndex,
    is_plain_name,
)
from export.bundle.device_platform import DevicePlatform
from export.bundle.parity import LIMITS, make_vectors
from export.bundle.reading import sums_text
from export.bundle.signature import sign
from export.bundle.wheels import ChosenWheels, choose_wheels, own_wheel_doubts
from export.lint.linter import lint, read
from export.verify.precision_proof import stored_elements

MODEL_SUFFIXES = (".onnx", ".xml")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSource:
    """A model that goes into a bundle.

    Attributes:
        name: Its name there.
        path: An ``.onnx`` or OpenVINO ``.xml`` file; what belongs to it lies beside it.
    """

    name: str
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenBundle:
    """A written bundle.

    Attributes:
        path: The archive.
        index: Content of ``bundle.json``.
        sums_sha256: SHA-256 of SHA256SUMS, see ``export.bundle.reading.Bundle``.
        doubts: What may not work on the device, as sentences.
    """

    path: Path
    index: BundleIndex
    sums_sha256: str
    doubts: tuple[str, ...]


def write_bundle(
    models: Sequence[ModelSource],
    out: Path,
    *,
    device: DevicePlatform,
    wheels: Path,
    images_bgr: Iterable[NDArray[np.uint8]],
    key: Path | None = None,
    force: bool = False,
) -> WrittenBundle:
    """Write a bundle. Same models, wheels and images, and same versions of the libraries: same bytes.

    Args:
        models: At least one.
        out: ``FILE.tar.zst`` or ``FILE.tar``; it appears when it is complete.
        device: For what.
        wheels: A folder with the wheels that the device needs, see ``export.bundle.wheels``.
        images_bgr: Images with objects, for the parity vectors; uint8 ``[H, W, 3]`` each. They are read once,
            after the wheels were found.
        key: An SSH key to sign with; None for no signature.
        force: Whether an existing file may be replaced.

    Raises:
        ArtifactError: A model is broken, altered, an engine, or no detector.
        DeviceError: A library of the extra ``bundle``, or ssh-keygen, is not installed.
        UsageError: A name or suffix does not fit, the folder lacks wheels, or a model finds nothing in the
            images.
    """
    if not out.name.endswith(SUFFIXES):
        raise UsageError(f"{out} ends in neither {' nor '.join(SUFFIXES)}", hint=f"--out NAME{SUFFIXES[0]}")
    refuse_overwrite(out, force=force)
    _check_sources(models, device)
    chosen = choose_wheels(wheels, device)
    images = list(images_bgr)
    made = [_bundle_model(source, images) for source in models]
    index = _index(device, chosen, [model for model, _ in made])
    files: Entries = [(f"{WHEELS}/{name}", path) for name, path in chosen.files().items()]
    files += [entry for _, entries in made for entry in entries]
    files += [
        (INDEX, f"{to_json_text(index.to_json())}\n".encode()),
        (INSTALLER, Path(on_device.__file__).read_bytes()),
        (RUNNER, Path(__file__).with_name(RUNNER).read_bytes()),
    ]
    files.sort(key=lambda entry: entry[0])
    if odd := [name for name, _ in files if not is_plain_name(name)]:
        raise UsageError(
            f"{odd[0]!r} is no name for a file of a bundle",
            hint="rename it: letters, digits and . _ + - only",
        )
    sums = sums_text({name: _sha256(content) for name, content in files}).encode()
    signature: Entries = [] if key is None else [(SIGNATURE, sign(sums, key))]
    write_archive(out, [(SUMS, sums), *signature, *files], force=force)
    return WrittenBundle(
        path=out,
        index=index,
        sums_sha256=hashlib.sha256(sums).hexdigest(),
        doubts=(*device.doubts, *own_wheel_doubts(chosen), *_engine_doubts(models, index, device)),
    )


def _check_sources(models: Sequence[ModelSource], device: DevicePlatform) -> None:
    for source in models:
        if source.path.suffix not in MODEL_SUFFIXES:
            raise ArtifactError(
                f"{source.path} does not run on another machine",
                hint="bundle the .onnx file that it was built from",
            )
        if source.path.suffix == ".xml" and "openvino" not in device.extras:
            raise UsageError(
                f"there is no OpenVINO for {device.device}, which {source.path} needs",
                hint="edgestill export CKPT --to onnx",
            )
    names = [source.name for source in models]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"two models are called {twice[0]!r}", hint="rename one of the files")


def _bundle_model(
    source: ModelSource, images_bgr: Sequence[NDArray[np.uint8]]
) -> tuple[BundledModel, Entries]:
    """A model's entry in the index, and its files."""
    manifest = checked_manifest(source.path)
    record = manifest or _manifest_of_engine(source.path)
    vectors, spec, layers = make_vectors(source.path, images_bgr)
    folder = f"{MODELS}/{source.name}"
    # A manifest names its files; without one the name of a file in the cache would say nothing.
    name = source.path.name if manifest else f"{source.name}{source.path.suffix}"
    files: Entries = [(f"{folder}/{name}", source.path), *_others(source.path, manifest, folder, name)]
    files.append((f"{folder}/spec.json", f"{to_json_text(spec.to_json())}\n".encode()))
    if record and record.calibration:
        files.append((f"{folder}/calibration.json", f"{to_json_text(record.calibration)}\n".encode()))
    files.append((f"{folder}/parity.npz", vectors.to_bytes()))
    precision = record.precision if record else _precision(source.path, layers)
    return (
        BundledModel(
            name=source.name,
            file=f"{folder}/{name}",
            precision=precision,
            parity=f"{folder}/parity.npz",
            detections=vectors.detections,
            limits=LIMITS[precision],
            reference=vectors.reference,
        ),
        files,
    )


def _others(
    path: Path, manifest: Manifest | None, folder: str, name: str
) -> Iterator[tuple[str, Path | bytes]]:
    """The files beside a model file that belong to it."""
    if manifest is not None:
        yield f"{folder}/{manifest_path(path).name}", manifest_path(path)
        yield from ((f"{folder}/{one}", path.with_name(one)) for one in manifest.files if one != path.name)
    elif path.suffix == ".xml":
        yield f"{folder}/{Path(name).with_suffix('.bin')}", path.with_suffix(".bin")


def _manifest_of_engine(path: Path) -> Manifest | None:
    """The manifest of the engine that was built from a graph, which lists the graph, too."""
    digest = sha256_file(path)
    for beside in sorted(path.parent.glob(f"{path.stem}*.engine.manifest.json")):
        found = read_manifest(beside.with_name(beside.name.removesuffix(".manifest.json")))
        if found is not None and digest in {*found.files.values(), (found.built_on or {}).get("onnx_sha256")}:
            return found
    return None


def _precision(path: Path, layers: dict[str, int]) -> FilePrecision:
    """The precision of a file of another exporter, from what it stores and what runs of it."""
    if layers.get("int8"):
        return "int8"
    if layers.get("bfloat16"):
        return "bf16"
    stored = stored_elements(path)
    return "fp16" if 2 * stored.get("float16", 0) > sum(stored.values()) else "fp32"


def _index(device: DevicePlatform, chosen: ChosenWheels, models: Sequence[BundledModel]) -> BundleIndex:
    return BundleIndex(
        edgestill=edgestill.__version__,
        device=device.device,
        machine=device.machine,
        system_packages=device.system_packages,
        wheels={
            python: tuple(f"{WHEELS}/{path.name}" for path in paths)
            for python, paths in chosen.by_python.items()
        },
        pip=f"{WHEELS}/{chosen.pip.name}",
        models=tuple(sorted(models, key=lambda model: model.name)),
    )


def _engine_doubts(
    models: Sequence[ModelSource], index: BundleIndex, device: DevicePlatform
) -> Iterator[str]:
    """INT8 graphs that TensorRT would refuse or compute wrongly on a Jetson."""
    precisions = {model.name: model.precision for model in index.models}
    for source in models if device.system_packages else ():
        if source.path.suffix == ".onnx" and precisions[source.name] == "int8":
            found = [
                one for one in lint(read(source.path), ["tensorrt"]) if one.severities["tensorrt"] == "error"
            ]
            if found:
                yield (
                    f"{source.path} breaks rules of TensorRT at {len(found)} places: `sh run.sh build` would "
                    "fail; bundle the .onnx file beside an engine of `edgestill export --to tensorrt-rtx`"
                )


def _sha256(content: Path | bytes) -> str:
    return hashlib.sha256(content).hexdigest() if isinstance(content, bytes) else sha256_file(content)
