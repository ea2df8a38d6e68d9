"""The classifier: a small convolutional network on crops of signal heads, run by any backend."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgestill.errors import ArtifactError
from edgestill.shipped import SHIPPED as SHIPPED_WEIGHTS
from edgestill.spec import LIGHT_STATES_KEY, LightStateSpec
from runtime.backend import Backend, open_backend
from runtime.light_states.crops import CROP_HW, crop_heads

UNKNOWN = "unknown"
#: Outputs of the network in this order. ``unknown`` is what shows no state: a back, a side, something else.
STATES = ("red", "yellow", "green", "off", UNKNOWN)
SPEC = LightStateSpec(classes=STATES, input_hw=CROP_HW)
SHARE = 0.6  # a state with a lower probability is reported as unknown
SHIPPED = SHIPPED_WEIGHTS / "light-states.onnx"


@dataclass(frozen=True, slots=True, eq=False)
class LightStatesOfFrame:
    """The states of the lights of one frame.

    Attributes:
        state: Index into ``STATES`` of each light; int64 ``[N]``.
        probability: Of every state, rows sum to 1; float32 ``[N, 5]``.
    """

    state: NDArray[np.int64]
    probability: NDArray[np.float32]


class LightStateClassifier:
    """Classifies signal heads. ``open_light_states`` makes one.

    Args:
        backend: The loaded network.
        share: A state with a lower probability is reported as unknown.
    """

    def __init__(self, backend: Backend, *, share: float = SHARE) -> None:
        self._backend, self._share = backend, share
        self._input, self._output = backend.inputs[0], backend.outputs[0]

    def __call__(self, image_bgr: NDArray[np.uint8], xyxy: NDArray[np.float32]) -> LightStatesOfFrame:
        """Classify the heads of an image in one call of the network.

        Args:
            image_bgr: uint8 ``[H, W, 3]``.
            xyxy: Boxes around the heads in its pixels; float32 ``[N, 4]``.
        """
        if not len(xyxy):
            return LightStatesOfFrame(np.zeros(0, np.int64), np.zeros((0, len(STATES)), np.float32))
        probability = self._infer(to_input(crop_heads(image_bgr, xyxy)))
        state = probability.argmax(axis=1)
        state[probability.max(axis=1) < self._share] = STATES.index(UNKNOWN)
        return LightStatesOfFrame(state, probability)

    def _infer(self, crops: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities of crops, in batches as large as the file takes."""
        size = self._input.shape[0] or min(len(crops), self._backend.max_batch or len(crops))
        parts = []
        for start in range(0, len(crops), size):
            taken = crops[start : start + size]
            padded = np.concatenate((taken, np.repeat(taken[-1:], size - len(taken), axis=0)))
            fed = {self._input.name: padded.astype(self._input.dtype, copy=False)}
            parts.append(self._backend.infer(fed)[self._output.name][: len(taken)])
        return np.asarray(np.concatenate(parts), np.float32)

    def close(self) -> None:
        """Free the network."""
        self._backend.close()


def to_input(crops_bgr: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Input of the network: RGB in [0, 1], float32 ``[N, 3, 40, 20]``, from uint8 ``[N, 40, 20, 3]`` BGR."""
    rgb = crops_bgr[..., ::-1].transpose(0, 3, 1, 2)
    scaled: NDArray[np.float32] = np.ascontiguousarray(rgb, np.float32) / np.float32(255)
    return scaled


def open_light_states(
    path: Path = SHIPPED,
    *,
    backend: str = "auto",
    device: str | None = None,
    threads: int | None = None,
    trust_engine: bool = False,
) -> LightStateClassifier:
    """Load a classifier from a file of ``edgestill export light-states``, or the shipped one.

    Args:
        path: An ``.onnx``, OpenVINO ``.xml`` or TensorRT ``.engine`` file.
        backend: A backend; ``"auto"`` chooses by the file's suffix.
        device: See ``runtime.backend.open_backend``.
        threads: CPU threads; None leaves the choice to the library.
        trust_engine: Whether an engine that was not built on this machine is run; it is native code.

    Raises:
        ArtifactError: The file is missing, broken, or not a classifier of light states.
        DeviceError: The library or the device is not available.
    """
    loaded = open_backend(path, backend, device=device, threads=threads, trust_engine=trust_engine)
    try:
        check_classifier(path, loaded)
    except ArtifactError:
        loaded.close()
        raise
    return LightStateClassifier(loaded)


def check_classifier(path: Path, loaded: Backend) -> None:
    """Raise ArtifactError if a loaded file is not a classifier of ``STATES``."""
    if problem := _problem(loaded):
        raise ArtifactError(
            f"{path} {problem}: it is not a classifier of light states",
            hint="`edgestill export light-states` writes one; --lights without a file takes the shipped one",
        )


def _problem(loaded: Backend) -> str | None:
    """Why a file is not a classifier of ``STATES``; None if it is one."""
    told = loaded.metadata.get(LIGHT_STATES_KEY, ",".join(STATES))
    if told != ",".join(STATES):
        return f"tells {told[:80]!a}, not {','.join(STATES)}"
    inputs, outputs = ([list(t.shape) for t in side] for side in (loaded.inputs, loaded.outputs))
    if [shape[1:] for shape in inputs] == [[3, *CROP_HW]] and [s[1:] for s in outputs] == [[len(STATES)]]:
        return None
    return (
        f"takes {inputs} and gives {outputs}, not [N, 3, {CROP_HW[0]}, {CROP_HW[1]}] and [N, {len(STATES)}]"
    )
