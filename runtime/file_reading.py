"""How a model file is to be read: from the spec of edgestill, or from what another exporter wrote into it.

The layout of an output is never guessed from one number: ``[1, N, 6]`` may be boxes of YOLOv5 with one class,
or detections that need no NMS. What the metadata say comes first (``task``, ``end2end``, ``args``, ``names``,
``imgsz``, ``stride``, ``batch``, ``channels``, ``head``: ``yolo export`` writes them into ONNX files, into
``metadata.yaml`` beside OpenVINO files, and in front of engines). Then the shapes decide, if they fit one
layout only. Where sizes of the output are free, the model is run once on a grey image to learn them. All else
is refused.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgestill.errors import ArtifactError, ToolchainError
from edgestill.spec import COCO_ANCHORS_PX, LIGHT_STATES_KEY, SPEC_KEY, Layout, ModelSpec, TensorSpec
from runtime.backend import Backend
from runtime.foreign_layout import END_TO_END_COLUMNS, layout_of_rows, layout_of_shape

MAX_SIDE = 16384  # of an input, pixels; metadata could ask for any size of a file with free sizes
DEFAULT_SIDE = 640  # input height and width of all published P5 models
GREY = 114 / 255  # of the image on which the shapes are learnt: the border of the letterbox
EXPORT = "export a detector with `edgestill export CKPT --to onnx`, or with `yolo export`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a file says about itself, and how its layout was found.

    Attributes:
        spec: The spec that the file is run with.
        why: What the layout was told by.
        task: The task that the file names; None if it names none.
        end2end: Whether the file says that its network needs no NMS; None if it does not say.
        nms: Whether the file says that it has NMS inside; None if it does not say.
        max_batch: Largest batch that the graph computes, if its batch size is free; None for no limit.
        notes: What a user of the file should know, a line each.
    """

    spec: ModelSpec
    why: str
    task: str | None = None
    end2end: bool | None = None
    nms: bool | None = None
    max_batch: int | None = None
    notes: tuple[str, ...] = ()


def read_file(path: Path, backend: Backend, input_hw: tuple[int, int] | None = None) -> Reading:
    """Find out how to read a loaded file.

    A file of another exporter is run on a grey image if sizes of its output are free, or if it is end-to-end.

    Args:
        path: The file.
        backend: The loaded file.
        input_hw: Input height and width, pixels, for such a file with free sizes; None for its own.

    Raises:
        ArtifactError: The file is not a detector that this project can run, or does not say how to read it.
        ValueError, LookupError, TypeError: The metadata are broken.
    """
    if SPEC_KEY in backend.metadata:
        spec = ModelSpec.from_metadata(backend.metadata)
        limited(path, spec.input_hw)
        return Reading(spec=spec, why="the spec of edgestill in the file", task="detect")
    if LIGHT_STATES_KEY in backend.metadata:
        raise ArtifactError(
            f"{path} is a classifier of light states, not a detector",
            hint=f"give it to a detector: edgestill run DETECTOR --source SOURCE --lights {path.name}",
        )
    return _Foreign(path, backend).read(input_hw)


def limited(path: Path, input_hw: tuple[int, int]) -> None:
    """Raise ArtifactError if an input size is above the limit."""
    if max(input_hw) > MAX_SIDE:
        raise ArtifactError(
            f"{path} has an input size of {input_hw}; the limit is {MAX_SIDE}", hint="export the model again"
        )


class _Foreign:
    """A file of another exporter."""

    def __init__(self, path: Path, backend: Backend) -> None:
        self._path, self._backend, self._said = path, backend, backend.metadata
        arguments = _literal(self._said.get("args"))
        self._arguments = arguments if isinstance(arguments, dict) else {}
        self._end2end = _flag(self._said.get("end2end"))
        self._nms = _flag(self._arguments.get("nms"))
        self._refuse_other_models()
        self._classes = self._names()
        self._input, self._output = self._tensors()

    def read(self, wanted_hw: tuple[int, int] | None) -> Reading:
        """The spec, from the metadata and the shapes."""
        input_hw, notes = self._size(wanted_hw)
        strides = _levels(self._number("stride", 32))
        ends = bool(self._end2end or self._nms)
        shape = self._output.shape
        found = self._on_grey(input_hw) if ends or None in shape[1:] else None
        layout, why = self._layout(shape if found is None else found.shape, input_hw, max(strides))
        if found is not None and ends:
            units = layout_of_rows(found, len(self._classes))
            if units is None:
                raise self._unknown(
                    list(found.shape), "columns 4 and 5 are not a score and a class id of its class names"
                )
            layout = units
        if self._nms:
            notes = (*notes, self._note_on_suppression())
        spec = ModelSpec(
            name="foreign",
            input_hw=input_hw,
            classes=self._classes,
            strides=strides,
            anchors_px=COCO_ANCHORS_PX if layout == "yolov5" else (),
            layout=layout,
        )
        return Reading(
            spec=spec,
            why=why,
            task=self._said.get("task"),
            end2end=self._end2end,
            nms=self._nms,
            # NMS is traced as a loop over the images of the export's batch: others would come out empty.
            max_batch=self._number("batch", 1) if self._nms else None,
            notes=notes,
        )

    # --- what the metadata say

    def _refuse_other_models(self) -> None:
        """Raise ArtifactError for what is no detector on colour images."""
        task, head = self._said.get("task", "detect"), self._said.get("head", "")
        if task != "detect":
            raise ArtifactError(
                f"{self._path} is a model for the task {task[:40]!r}; this project runs detectors only",
                hint=EXPORT,
            )
        if head.startswith("RTDETR"):
            raise ArtifactError(
                f"{self._path} has the head {head}: its images are stretched, not letterboxed, and its boxes "
                "are normalised",
                hint="run it with the ultralytics package, or " + EXPORT,
            )
        if "names" not in self._said:
            is_xml = self._path.suffix == ".xml" and not self._path.with_name("metadata.yaml").is_file()
            raise ArtifactError(
                f"{self._path} has neither an edgestill spec nor the class names of a detector in its "
                "metadata",
                hint="`yolo export` writes metadata.yaml beside the .xml: copy it, too" if is_xml else EXPORT,
            )
        if (channels := self._number("channels", 3)) != 3:
            raise ArtifactError(f"{self._path} takes images of {channels} channels, not 3", hint=EXPORT)

    def _names(self) -> tuple[str, ...]:
        """The class names, by id."""
        names = _literal(self._said["names"])
        if isinstance(names, dict):
            by_id = {int(key): str(name) for key, name in names.items()}
            if sorted(by_id) == list(range(len(names))):
                return tuple(by_id[i] for i in range(len(names)))
        elif isinstance(names, (list, tuple)):
            return tuple(map(str, names))
        raise ArtifactError(
            f"{self._path} has class names that cannot be read: {self._said['names'][:80]!r}", hint=EXPORT
        )

    def _number(self, key: str, default: int) -> int:
        value = int(self._said.get(key, default))
        if value < 1:
            raise ValueError(f"{key} is {value}")
        return value

    def _size(self, wanted_hw: tuple[int, int] | None) -> tuple[tuple[int, int], tuple[str, ...]]:
        """Input height and width: fixed, else requested, else of ``imgsz``, else the default with a note."""
        stored = _literal(self._said.get("imgsz"))
        sides = list(stored) if isinstance(stored, (list, tuple)) else [stored] if stored else []
        named = list(wanted_hw or [int(side) for side in (sides * 2)[:2]]) or None
        fixed = self._input.shape[2:]
        notes: tuple[str, ...] = ()
        if None in fixed and named is None:
            named = [DEFAULT_SIDE, DEFAULT_SIDE]
            size = f"{DEFAULT_SIDE}x{DEFAULT_SIDE}"
            notes = (f"{self._path} names no input size: it is run at {size}; --imgsz gives another one",)
        height, width = (side or (named or [0, 0])[i] for i, side in enumerate(fixed))
        limited(self._path, (height, width))
        return (height, width), notes

    def _note_on_suppression(self) -> str:
        return (
            f"{self._path} has NMS inside, with the thresholds of its export (by default 0.25 and 0.7): "
            "boxes that it dropped are missing at any --conf, and --iou has no effect"
        )

    # --- tensors

    def _tensors(self) -> tuple[TensorSpec, TensorSpec]:
        """The input and the output, or ArtifactError if they are not those of a detector."""
        inputs, outputs = self._backend.inputs, self._backend.outputs
        shapes = [t.shape for t in inputs]
        taken = len(shapes) == 1 and len(shapes[0]) == 4 and shapes[0][1] in {3, None}
        if not taken or inputs[0].dtype not in {"float32", "float16"}:
            raise ArtifactError(
                f"{self._path} takes {[(t.name, t.dtype, list(t.shape)) for t in inputs]}; a detector of "
                "another exporter must take one float tensor [batch, 3, height, width]",
                hint=EXPORT,
            )
        if len(outputs) != 1 or len(outputs[0].shape) != 3:
            raise self._unknown(
                [(t.name, list(t.shape)) for t in outputs], "a detector has one, of three axes"
            )
        return inputs[0], outputs[0]

    def _layout(
        self, shape: tuple[int | None, ...], input_hw: tuple[int, int], stride: int
    ) -> tuple[Layout, str]:
        """The layout of an output, and what it was told by."""
        _, rows, columns = (int(side or 0) for side in shape)
        nc = len(self._classes)
        if self._end2end or self._nms:
            said = "end2end" if self._end2end else "args.nms"
            if columns == END_TO_END_COLUMNS:
                return "end2end", f"{said} in its metadata"
            why = f"its metadata say {said}, and such detections have {END_TO_END_COLUMNS} columns"
            raise self._unknown(list(shape), why)
        if layout := layout_of_shape(rows, columns, nc, input_hw, stride):
            needed = f"5 + {nc} columns" if layout == "yolov5" else f"4 + {nc} rows"
            return (
                layout,
                f"the shape {list(shape)} of its output: {needed} for {nc} classes, and no other layout",
            )
        why = f"{nc} classes need {5 + nc} columns (YOLOv5) or {4 + nc} rows (YOLOv8)"
        if columns == END_TO_END_COLUMNS:
            why = "it may be boxes or detections that need no NMS, and its metadata do not say end2end or nms"
        raise self._unknown(list(shape), why)

    def _unknown(self, shape: Any, why: str) -> ArtifactError:
        return ArtifactError(
            f"cannot tell how to read the output {shape} of {self._path}: {why}",
            hint="export it again with a current `yolo export`, which writes how to read it, or with "
            "`edgestill export`",
        )

    # --- the run on a grey image

    def _on_grey(self, input_hw: tuple[int, int]) -> NDArray[Any]:
        """The output for a grey image."""
        batch = self._input.shape[0] or 1
        image = np.full((batch, 3, *input_hw), GREY, self._input.dtype)
        try:
            output = self._backend.infer({self._input.name: image})[self._output.name]
        except ToolchainError:
            raise
        except Exception as error:  # each library raises types of its own
            raise ArtifactError(
                f"{self._path} cannot be run on a grey image of {input_hw[0]}x{input_hw[1]}: {error}",
                hint=EXPORT,
            ) from error
        if output.ndim != 3:
            raise self._unknown(list(output.shape), "a detector has one, of three axes")
        return output


def _literal(text: Any) -> Any:
    """The value of a Python literal; None for other text."""
    try:
        return ast.literal_eval(text) if isinstance(text, str) else text
    except (ValueError, SyntaxError):
        return None


def _flag(value: Any) -> bool | None:
    """A flag of the metadata, which may be text; None if it is not given."""
    if value is None or value == "None":
        return None
    return str(value).strip().lower() in {"true", "1"}


def _levels(stride: int) -> tuple[int, ...]:
    """The strides of a network with a largest stride: 8, 16, 32 and so on up to it."""
    found = tuple(8 << i for i in range(8) if 8 << i <= stride)
    return found if found and found[-1] == stride else (stride,)
