"""The model spec: input, output and classes of a model, for training, export and inference.

A ModelSpec is stored with every file: as ``spec.json`` of a checkpoint, in ONNX ``metadata_props``, in
OpenVINO ``rt_info`` and in the manifest. The keys of Ultralytics (``names``, ``stride``, ``imgsz``, ``task``)
are written as well. ``runtime.file_reading`` reads files of ``yolo export``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import pairwise
from typing import Any, Literal, get_args

from edgestill.errors import ArtifactError
from edgestill.files import is_text

Precision = Literal["fp32", "fp16", "int8"]
#: ``coupled``: YOLOv5's 1x1 convolutions over anchors; ``decoupled``: YOLOX-style towers over the same
#: anchors; ``dfl``: YOLOv5u's anchor-free head.
HeadKind = Literal["coupled", "decoupled", "dfl"]
#: What the file's one output holds. ``yolov5``: [B, A, 5 + nc], rows cx, cy, w, h in input pixels,
#: objectness, class probabilities. ``yolov8``: [B, 4 + nc, A], columns cx, cy, w, h, class probabilities.
#: ``compact``: [B, K, 6], rows x0, y0, x1, y1 in input pixels, score, class id: the K best pairs of box and
#: class, highest score first, before NMS; a box is listed once for each of its classes among them.
#: ``end2end``: the columns of ``compact``, but the detections themselves, which need no NMS: of YOLOv10, of
#: YOLO26 and of exports with NMS inside. ``end2end-normalized``: the same with boxes in shares of the input's
#: width and height. This project runs these two and does not write them.
Layout = Literal["yolov5", "yolov8", "compact", "end2end", "end2end-normalized"]
#: What the file's one input takes. ``float32``: [B, 3, H, W], scaled. ``uint8``: [B, H, W, 3], the
#: letterboxed image in ``pixel_order``; the graph scales it.
Pixels = Literal["float32", "uint8"]
#: Pairs of a network's score and the score that is reported for it, both strictly increasing, see
#: ``runtime.score_map``; empty where scores are reported unchanged.
ScoreMap = tuple[tuple[float, float], ...]

PRECISIONS: tuple[Precision, ...] = get_args(Precision)
SPEC_KEY = "edgestill.spec"
LIGHT_STATES_KEY = "edgestill.light_states"  # the states that a classifier of lights tells, in its order
#: In place of the batch size in files that the ``ultralytics`` package would read other boxes from: it takes
#: each output of 6 columns for end-to-end and skips NMS, and it knows no objectness and no ``score_map``. It
#: converts the batch size to a number when it opens a file, so that it refuses these and shows the text.
NOT_FOR_ULTRALYTICS = "run it with edgestill: the ultralytics package would read other boxes from this file"
MAX_SIDE = 1 << 16  # pixels of an input side or a stride
MAX_NUMBER = 1e30  # of any other number in a spec
OPTIONAL_FIELDS = frozenset(
    {"share_levels", "pixels", "score_map"}
)  # added later: older specs lack them, and mean their default

#: Anchors of the original YOLOv5 P5 models, width and height in input pixels, by level P3, P4, P5.
COCO_ANCHORS_PX: tuple[tuple[tuple[float, float], ...], ...] = (
    ((10.0, 13.0), (16.0, 30.0), (33.0, 23.0)),
    ((30.0, 61.0), (62.0, 45.0), (59.0, 119.0)),
    ((116.0, 90.0), (156.0, 198.0), (373.0, 326.0)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """One input or output of a model file.

    Attributes:
        name: The tensor's name in the file.
        shape: Its sizes; None for a dynamic axis.
        dtype: NumPy's name of the element type, e.g. ``"float32"``.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """What pre-processing, decoding and reporting need to know about a detector.

    Attributes:
        name: Architecture, e.g. ``"yolov5n"``.
        input_hw: Height and width of the input tensor, pixels; multiples of the largest stride.
        classes: Class names; the position is the class id.
        strides: Input pixels per cell, by level.
        anchors_px: Anchor width and height in input pixels, by level; empty for an anchor-free head.
        head: Kind of detection head.
        share_levels: Whether all levels share the towers of a ``decoupled`` head.
        layout: Layout of the exported file's output, see ``Layout``.
        pixels: Type of the exported file's input, see ``Pixels``.
        pixel_order: Order of the colour channels of the input.
        scale: Factor from 8-bit pixel values to network input.
        pad_value: 8-bit grey level of the letterbox border.
        score_map: Mapping from the network's scores to reported scores, see ``ScoreMap``.
    """

    name: str
    input_hw: tuple[int, int]
    classes: tuple[str, ...]
    strides: tuple[int, ...] = (8, 16, 32)
    anchors_px: tuple[tuple[tuple[float, float], ...], ...] = COCO_ANCHORS_PX
    head: HeadKind = "coupled"
    share_levels: bool = False
    layout: Layout = "yolov5"
    pixels: Pixels = "float32"
    pixel_order: Literal["rgb", "bgr"] = "rgb"
    scale: float = 1 / 255
    pad_value: int = 114
    score_map: ScoreMap = ()

    def __post_init__(self) -> None:
        if not self.classes:
            raise ArtifactError("the model spec has no classes", hint="export the model again")
        if not all(map(is_text, self.classes)):
            raise ArtifactError(f"a class name is no text: {self.classes!a}", hint="name the classes again")
        if any(side <= 0 or side % max(self.strides) for side in self.input_hw):
            raise ArtifactError(
                f"input_hw {self.input_hw} is not a multiple of the largest stride {max(self.strides)}",
                hint="choose height and width in steps of 32, e.g. 384x640",
            )
        if self.head == "dfl" and (self.anchors_px or self.layout == "yolov5"):
            raise ArtifactError(
                f"a dfl head has no anchors and layout yolov8 or compact; the spec has "
                f"anchors of {len(self.anchors_px)} levels and layout {self.layout}",
                hint="export the model again",
            )
        if self.share_levels and self.head != "decoupled":
            raise ArtifactError(
                f"share_levels is for a decoupled head; the spec has a {self.head} head",
                hint="export the model again",
            )
        for column in zip(*self.score_map, strict=True):
            ends = (0.0, *column, 1.0)
            if not all(low < high for low, high in pairwise(ends)):  # NaN fails every comparison
                raise ArtifactError(
                    f"score_map is not strictly increasing between 0 and 1: {self.score_map}",
                    hint="export the model again",
                )

    @property
    def nc(self) -> int:
        """Number of classes."""
        return len(self.classes)

    @property
    def cells(self) -> int:
        """Number of boxes that the network outputs: over all levels, one per anchor or anchor-free cell."""
        height, width = self.input_hw
        per_cell = len(self.anchors_px[0]) if self.anchors_px else 1
        return sum(per_cell * (height // s) * (width // s) for s in self.strides)

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """Shape of the input for one image."""
        height, width = self.input_hw
        return (1, height, width, 3) if self.pixels == "uint8" else (1, 3, height, width)

    def resized(self, input_hw: tuple[int, int]) -> ModelSpec:
        """The same model at another input size."""
        return replace(self, input_hw=input_hw)

    def to_json(self) -> dict[str, Any]:
        """JSON data that ``from_json`` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ModelSpec:
        """The spec of ``to_json``'s data.

        Raises:
            ArtifactError: A field is missing or unknown, or its value is of another type or out of range.
        """
        known = {f.name for f in fields(cls)}
        odd = sorted((set(data if isinstance(data, Mapping) else ()) ^ known) - OPTIONAL_FIELDS)
        if odd:
            raise ArtifactError(
                f"the model spec has missing or unknown fields: {', '.join(odd)}",
                hint="it was written by another version: export the model again",
            )
        if wrong := [name for name, value in data.items() if not _CHECKS[name](value)]:
            shown = repr(data[wrong[0]])[:60]
            raise ArtifactError(
                f"the model spec has {wrong[0]} = {shown}", hint="copy the file again, or export it again"
            )
        frozen = dict(data)
        for name in ("input_hw", "classes", "strides"):
            frozen[name] = tuple(data[name])
        frozen["anchors_px"] = tuple(
            tuple((float(w), float(h)) for w, h in level) for level in data["anchors_px"]
        )
        frozen["score_map"] = tuple((float(a), float(b)) for a, b in data.get("score_map", ()))
        return cls(**frozen)

    def to_metadata(self, batch: int = 1) -> dict[str, str]:
        """Metadata of a model file: the spec as JSON, and the keys that Ultralytics' tools read.

        Args:
            batch: Images in one run.
        """
        opens_there = self.layout == "yolov8" and self.pixels == "float32" and not self.score_map
        return {
            SPEC_KEY: json.dumps(self.to_json(), sort_keys=True),
            "names": repr(dict(enumerate(self.classes))),
            "stride": str(max(self.strides)),
            "imgsz": repr(list(self.input_hw)),
            "task": "detect",
            "batch": str(batch) if opens_there else NOT_FOR_ULTRALYTICS,
        }

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> ModelSpec:
        """The spec in the metadata of a file of this project, see ``to_metadata``.

        Raises:
            ArtifactError: A field is missing or unknown.
            KeyError: There is no spec: it is a file of another exporter.
        """
        return cls.from_json(_json_spec(metadata[SPEC_KEY]))


@dataclass(frozen=True, slots=True, kw_only=True)
class LightStateSpec:
    """What reporting needs to know about a classifier of light states, see ``runtime.light_states``.

    Attributes:
        classes: Names of the states; the position is the column of the output.
        input_hw: Height and width of a crop, pixels.
        name: Name of the network.
        layout: What the file's one output holds: ``[B, states]``, a row that sums to 1 for each crop.
    """

    classes: tuple[str, ...]
    input_hw: tuple[int, int]
    name: str = "light-states"
    layout: Literal["probabilities"] = "probabilities"

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LightStateSpec:
        """The spec of ``dataclasses.asdict``'s data.

        Raises:
            ArtifactError: A field is missing or unknown, or its value is of another type or out of range.
        """
        checked = ("name", "classes", "input_hw")
        if set(data) != {*checked, "layout"} or not all(_CHECKS[name](data[name]) for name in checked):
            raise ArtifactError(
                "the spec of the classifier has missing, unknown or broken fields", hint="export it again"
            )
        height, width = data["input_hw"]
        return cls(classes=tuple(data["classes"]), input_hw=(height, width), name=data["name"])

    def to_metadata(self) -> dict[str, str]:
        """Metadata of a model file."""
        return {LIGHT_STATES_KEY: ",".join(self.classes)}


def spec_from_json(data: Mapping[str, Any]) -> ModelSpec | LightStateSpec:
    """The spec of a manifest: of a detector, or of a classifier of light states.

    Raises:
        ArtifactError: See ``from_json`` of either.
    """
    if data.get("layout") == "probabilities":
        return LightStateSpec.from_json(data)
    return ModelSpec.from_json(data)


def _json_spec(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(
            f"the model spec in the file is not JSON: {error}", hint="export the model again"
        ) from error


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= MAX_NUMBER


def _is_side(value: Any) -> bool:
    return isinstance(value, int) and _is_number(value) and 0 < value <= MAX_SIDE


def _is_list(value: Any, fits: Callable[[Any], bool], length: int | None = None) -> bool:
    listed = isinstance(value, (list, tuple)) and (length is None or len(value) == length)
    return listed and all(map(fits, value))


def _are_pairs(value: Any) -> bool:
    return _is_list(value, lambda pair: _is_list(pair, _is_number, 2))


def _one_of(names: Sequence[str]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and value in names


#: By field, whether a value in JSON has its type and range.
_CHECKS: Mapping[str, Callable[[Any], bool]] = {
    "name": lambda value: isinstance(value, str),
    "input_hw": lambda value: _is_list(value, _is_side, 2),
    "classes": lambda value: _is_list(value, lambda name: isinstance(name, str)),
    "strides": lambda value: bool(value) and _is_list(value, _is_side),
    "anchors_px": lambda value: _is_list(value, _are_pairs),
    "head": _one_of(get_args(HeadKind)),
    "share_levels": lambda value: isinstance(value, bool),
    "layout": _one_of(get_args(Layout)),
    "pixels": _one_of(get_args(Pixels)),
    "pixel_order": _one_of(("rgb", "bgr")),
    "scale": lambda value: _is_number(value) and value > 0,
    "pad_value": lambda value: _is_number(value) and 0 <= value <= 255,
    "score_map": _are_pairs,
}
