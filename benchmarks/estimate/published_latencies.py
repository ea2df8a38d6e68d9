"""The table of published latencies, and the rows of it that the model can be fitted to.

``published_latencies.csv`` has one figure in a row with its source and its conditions. ``split`` is ``train``
for rows that may be fitted and ``aux`` for rows that are never fitted: their conditions are doubtful, or they
cover more than a model.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Literal, get_args

from benchmarks.estimate.latency_model import Machine, Scope, machine, terms
from benchmarks.estimate.layer_work import ModelWork
from benchmarks.estimate.yolo_models import is_published, published_model
from devices.profile import load_profile
from edgestill.errors import DataError
from edgestill.spec import PRECISIONS, Precision

TABLE = Path(__file__).with_name("published_latencies.csv")
RUNTIME = "tensorrt"
Split = Literal["train", "aux"]
SPLITS: tuple[Split, ...] = get_args(Split)
SCOPES: tuple[Scope, ...] = get_args(Scope)
#: Profiles by the names of the devices in the table.
PROFILE_OF: Mapping[str, str] = MappingProxyType(
    {
        "A100-80GB": "a100-80gb",
        "GTX-1660": "gtx-1660",
        "Jetson-AGX-Orin-64GB": "jetson-agx-orin",
        "Jetson-Nano-4GB": "jetson-nano",
        "Jetson-Orin-NX-16GB": "jetson-orin-nx",
        "Jetson-Orin-Nano-8GB": "jetson-orin-nano",
        "Jetson-Xavier-NX": "jetson-xavier-nx",
        "RTX-2060-6GB": "rtx-2060",
        "RTX-2080Ti": "rtx-2080-ti",
        "RTX-3060-12GB": "rtx-3060",
        "RTX-3080-12GB": "rtx-3080-12gb",
        "T4": "t4",
        "V100-PCIe-16GB": "v100-pcie",
        "V100-SXM2-16GB": "v100",
    }
)
#: Models of the table that have the layers of another; "fast" decodes fewer boxes.
SAME_LAYERS = "-fast"


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One published latency with what the model knows of it.

    Attributes:
        device: Key of the profile.
        precision: Of the engine.
        batch: Images in one call.
        scope: What the latency covers.
        measured_ms: Published milliseconds of one image.
        source: The publication.
        split: ``train`` or ``aux``.
        trust: ``A`` conditions stated, ``B`` partly stated, ``C`` a single report or doubtful.
        work: The layers of the model.
        on: Figures of the device.
        terms: See ``latency_model.terms``.
    """

    device: str
    precision: Precision
    batch: int
    scope: Scope
    measured_ms: float
    source: str
    split: Split
    trust: str
    work: ModelWork
    on: Machine
    terms: Mapping[str, float]

    @property
    def achieved(self) -> float:
        """Achieved arithmetic throughput over the peak of the unit."""
        return self.work.gflops / self.measured_ms / self.on.peak


def table_sha256() -> str:
    """SHA-256 of the table, hexadecimal."""
    return hashlib.sha256(TABLE.read_bytes()).hexdigest()


def read_table() -> list[dict[str, str]]:
    """All rows, as text by column."""
    return list(csv.DictReader(io.StringIO(TABLE.read_text("utf-8"))))


@cache
def usable_rows() -> tuple[Published, ...]:
    """The rows of TensorRT whose device is in ``PROFILE_OF`` and whose model's layers are known."""
    return tuple(found for row in read_table() if (found := _published(row)) is not None)


def _published(row: Mapping[str, str]) -> Published | None:
    model, device = row["model"].removesuffix(SAME_LAYERS), PROFILE_OF.get(row["device"])
    precision = next((p for p in PRECISIONS if p == row["precision"]), None)
    scope = next((s for s in SCOPES if s == row["scope"]), None)
    split = next((s for s in SPLITS if s == row["split"]), None)
    if split is None:
        raise DataError(f"{TABLE.name}: split {row['split']!r}", hint=f"one of {', '.join(SPLITS)}")
    if row["runtime"] != RUNTIME or not is_published(model) or not row["imgsz"].isdigit():
        return None
    if device is None or precision is None or scope is None:
        return None
    work = published_model(model, (int(row["imgsz"]),) * 2)
    on, batch = machine(load_profile(device), precision), int(row["batch"])
    return Published(
        device=device,
        precision=precision,
        batch=batch,
        scope=scope,
        measured_ms=float(row["latency_ms"]),
        source=row["source"],
        split=split,
        trust=row["trust"],
        work=work,
        on=on,
        terms=terms(work, on, precision, batch=batch, scope=scope),
    )
