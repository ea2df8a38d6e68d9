"""The question: a device, a precision, a TensorRT and a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from devices.jetpack import RELEASES, JetPack, release
from devices.profile import DeviceProfile
from devices.tensorrt_support import is_imported, major_minor
from edgestill.spec import Precision
from edgestill.target import FilePrecision


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What a model file needs from a device.

    Attributes:
        name: The file, for messages.
        format: ``checkpoint``, ``onnx``, ``openvino`` or ``engine``.
        precision: Its precision; None if a checkpoint, or an engine without a manifest.
        opset: Opset of an ONNX file; None of other files.
        input_dtype: NumPy's name of the type of its input; None if not known.
        free_axes: Axes of its input without a fixed size.
        built_on: The platform of an engine, from its manifest; None without one.
        faults: By target, what its lint rules call an error in the file.
    """

    name: str
    format: str
    precision: FilePrecision | None = None
    opset: int | None = None
    input_dtype: str | None = None
    free_axes: tuple[str, ...] = ()
    built_on: Mapping[str, Any] | None = None
    faults: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A question: does this go together?

    Attributes:
        device: Where the model will run.
        precision: In which precision.
        tensorrt: Full version of TensorRT; None for every one that supports the device.
        model: The model; None for any.
    """

    device: DeviceProfile
    precision: Precision
    tensorrt: str | None = None
    model: ModelFacts | None = None

    @property
    def has_gpu(self) -> bool:
        """Whether the model will run on an NVIDIA GPU."""
        return self.device.kind != "cpu"

    @property
    def capability(self) -> str:
        """Compute capability of the GPU."""
        return self.device.compute_capability or ""

    @property
    def jetpack(self) -> JetPack | None:
        """The JetPack of the device with that TensorRT; None if none has it, or it is no Jetson."""
        wanted = major_minor(self.tensorrt or "")
        series = {release(version).l4t.partition(".")[0] for version in self.device.jetpacks}
        own = [one for one in RELEASES if one.l4t.partition(".")[0] in series]
        return next((one for one in own if major_minor(one.tensorrt) == wanted), None)

    @property
    def is_imported(self) -> bool:
        """Whether edgestill can import the TensorRT; if not, its ``trtexec`` still builds engines."""
        software = {"tensorrt": self.tensorrt, "python": self.jetpack and self.jetpack.python}
        return is_imported({name: version for name, version in software.items() if version})
