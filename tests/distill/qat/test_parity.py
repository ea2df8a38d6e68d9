"""What was trained is what is exported: the torch network against the file, on ONNX Runtime as it optimises.

A number that lies between two bytes may fall to either side by the order of a sum, in which torch and ONNX
Runtime differ; one such byte moves others behind it. So the pictures are small, and more than half of them
must agree to float32's precision, a tenth and less of what rounding changes.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

from distill.models.yolov5 import Yolov5
from distill.qat.fake_quantize import FakeQuantize
from distill.qat.initialization import quantize_student
from distill.qat.network import QuantizedYolov5
from distill.qat.settings import QatConfig
from distill.teacher import InitialStudent
from edgestill.checkpoint import read_checkpoint
from edgestill.quantization import QuantizationScheme
from edgestill.spec import HeadKind, ModelSpec
from edgestill.target import QDQ_TARGETS, QdqTarget
from export.graph.detector_graph import DetectorGraph
from export.graph.yolov5 import build_onnx
from export.job import INT8_SETTINGS
from export.quantize.qat_scales import QatVariants

SAME = 5e-4  # logits
Floats = NDArray[np.float32]


def graph(model: Yolov5, spec: ModelSpec, scheme: QuantizationScheme, *, float_is_fp16: bool = False) -> Any:
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    family = replace(INT8_SETTINGS[scheme.family], float_is_fp16=float_is_fp16)
    return QatVariants(DetectorGraph(build_onnx(spec, weights), spec.scale), scheme, family).make().model


def trained(started: Any, family: QdqTarget) -> QuantizedYolov5:
    """A network whose weights and steps have moved, as training moves them."""
    network = QuantizedYolov5(started.model, started.begin(family).scheme)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if not parameter.requires_grad:
                continue  # the bins of a dfl head
            size = 0.05 if name.endswith("growth") else 0.02 * parameter.abs().mean()
            parameter.add_(size * torch.randn_like(parameter))
    return network.eval()


def logits(model: Yolov5, decoded: Floats) -> Floats:
    p = decoded[..., 4:] if model.head.layout == "yolov5" else decoded[:, 4:]
    return np.asarray(np.log(p / (1 - p)), np.float32).reshape(len(p), -1)


def decoded(model: Yolov5, images: Floats) -> Floats:
    with torch.no_grad():
        return model.decode(model(torch.from_numpy(images))).numpy()


CASES: list[tuple[QdqTarget, HeadKind]] = [
    *((family, "coupled") for family in QDQ_TARGETS),
    ("tensorrt", "decoupled"),
    ("onnx", "dfl"),
]


@pytest.mark.default_cases("onnx-coupled")
@pytest.mark.parametrize(("family", "head"), CASES)
def test_the_file_computes_what_was_trained(
    family: QdqTarget,
    head: HeadKind,
    students: Callable[[HeadKind], Any],
    pictures: Callable[[int, int], Floats],
    run_onnx: Callable[[Any, Floats], Floats],
) -> None:
    started = students(head)
    network = trained(started, family)
    plain, scheme = network.to_float(started.spec)
    images = np.concatenate([pictures(1, seed) for seed in range(16)])
    ours = logits(plain, decoded(network, images))
    floats = logits(plain, decoded(plain, images))
    theirs = logits(plain, run_onnx(graph(plain, started.spec, scheme), images))
    apart, rounding = (np.abs(other - ours).max(axis=1) for other in (theirs, floats))
    assert sorted(apart)[8] < SAME
    assert apart.max() < 3 * rounding.max()
    assert np.median(rounding) > 10 * SAME


@pytest.mark.default_cases("tensorrt")
@pytest.mark.parametrize("family", QDQ_TARGETS)
def test_the_file_holds_the_scales_bit_for_bit(family: QdqTarget, student: Any) -> None:
    plain, scheme = trained(student, family).to_float(student.spec)
    made = graph(plain, student.spec, scheme, float_is_fp16=INT8_SETTINGS[family].float_is_fp16)
    stored = {t.name: numpy_helper.to_array(t) for t in made.graph.initializer}
    rounded = [name for name in scheme.activations if f"{name}.scale" in stored]
    assert len(rounded) > 30
    for name in rounded:
        grid = scheme.quant_params[scheme.activations[name]]
        assert stored[f"{name}.scale"] == np.float32(grid.scale)
        assert stored[f"{name}.zero"] == (0 if family == "tensorrt" else grid.zero_point)
    for name, steps in scheme.weights.items():
        np.testing.assert_array_equal(stored[f"{name}.weight.scale"], steps)


@pytest.mark.default_cases("tensorrt")
@pytest.mark.parametrize("family", QDQ_TARGETS)
def test_training_begins_with_the_file_that_an_export_writes(
    family: QdqTarget, student: Any, tmp_path: Path
) -> None:
    """Byte by byte, through the checkpoint, which stores weights as FP16."""
    start, settings = InitialStudent(model=student.model, spec=student.spec), QatConfig(family=family)
    quantize_student(start, settings, (), tmp_path / "begin", lambda *_: student.begin(family))
    kept = read_checkpoint(tmp_path / "begin")
    assert kept.scheme is not None
    source = build_onnx(kept.spec, kept.weights)
    made = QatVariants(
        DetectorGraph(source, kept.spec.scale),
        kept.scheme,
        replace(INT8_SETTINGS[family], float_is_fp16=False),
    ).make()
    ours, theirs = (
        {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        for model in (made.model, student.exported(family))
    )
    rounded = [name for name in theirs if name.endswith((".bytes", ".zero")) and "bias" not in name]
    assert len(rounded) > 80
    for name in rounded:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


@pytest.mark.default_cases("openvino")
@pytest.mark.parametrize("family", QDQ_TARGETS)
def test_the_first_step_computes_what_that_file_computes(
    family: QdqTarget,
    student: Any,
    pictures: Callable[[int, int], Floats],
    run_onnx: Callable[[Any, Floats], Floats],
) -> None:
    found = student.begin(family)
    network = QuantizedYolov5(student.model, found.scheme).eval()
    network.set_weights(found.weights, found.biases)
    plain, scheme = network.to_float(student.spec)
    images = pictures(4, 7)
    ours, theirs = decoded(network, images), run_onnx(graph(plain, student.spec, scheme), images)
    apart = np.abs(logits(network, ours) - logits(network, theirs)).max(axis=1)
    assert apart.min() < SAME


def test_a_copy_has_steps_of_its_own(student: Any, pictures: Callable[[int, int], Floats]) -> None:
    """The moving average is a copy: what its blocks read must be rounded by its own steps."""
    network = QuantizedYolov5(student.model, student.begin("tensorrt").scheme).eval()
    copy, images = deepcopy(network), pictures(1, 0)
    before = decoded(network, images)
    with torch.no_grad():
        for steps in copy.grids:
            assert isinstance(steps, FakeQuantize)
            steps.growth += 1.0
    assert (decoded(network, images) == before).all()
    assert (decoded(copy, images) != before).any()
    assert len(network.state_dict()) == len({t.data_ptr() for t in network.state_dict().values()})
