"""FP16 and INT8 of the heads with towers: the towers take part, the predictors and the decode stay float."""

from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto

from edgestill.quantization import FULL_RANGE
from edgestill.spec import ModelSpec
from export.graph.detector_graph import DetectorGraph
from export.graph.yolov5 import OUTPUT, build_onnx
from export.quantize.calibration.observer import TensorStatistics, observe
from export.quantize.fp16 import to_fp16
from export.quantize.qdq import quantise
from export.quantize.qdq_placement import QdqPlan, for_onnxruntime, for_openvino
from export.verify.precision_proof import prove
from runtime.backend import open_backend

HW, NAMES = (64, 96), ("red", "green")
SPECS = {
    "decoupled": ModelSpec(name="yolov5n", input_hw=HW, classes=NAMES, head="decoupled", share_levels=True),
    "dfl": ModelSpec(name="yolov5n", input_hw=HW, classes=NAMES, head="dfl", anchors_px=(), layout="yolov8"),
}
PREDICTORS = {
    "decoupled": {f"model.24.{kind}_preds.{i}" for kind in ("reg", "obj", "cls") for i in range(3)},
    "dfl": {f"model.24.{branch}.{i}.2" for branch in ("cv2", "cv3") for i in range(3)},
}
TOWER_ENDS = {
    "decoupled": {f"model.24.{kind}_convs.{i}.1.conv" for kind in ("reg", "cls") for i in range(3)},
    "dfl": {f"model.24.{branch}.{i}.1.conv" for branch in ("cv2", "cv3") for i in range(3)},
}
PLACEMENTS = {"ort": for_onnxruntime, "ov": for_openvino}
EVERY_ENGINE = pytest.mark.parametrize("engine", PLACEMENTS)
Run = Callable[[Any, Any], Any]


class Built(NamedTuple):
    spec: ModelSpec
    model: onnx.ModelProto
    graph: DetectorGraph
    statistics: TensorStatistics
    plans: Mapping[str, QdqPlan]

    def scores(self, output: NDArray[np.float32]) -> NDArray[np.float32]:
        return output[0, :, 4:] if self.spec.layout == "yolov5" else output[0, 4:]


@pytest.fixture(scope="module", params=SPECS)
def built(request: pytest.FixtureRequest, make_weights: Any, feeds: Any) -> Built:
    spec = SPECS[request.param]
    model = build_onnx(spec, make_weights(spec))
    graph = DetectorGraph(model, spec.scale)
    seen = observe(
        model, feeds, histograms=graph.observed_tensors(), means=graph.convolution_inputs(), threads=1
    )
    plans = {engine: place(graph, seen) for engine, place in PLACEMENTS.items()}
    return Built(spec, model, graph, seen, plans)


@pytest.mark.default_cases("dfl")
def test_the_predictors_are_the_detection_outputs(built: Built) -> None:
    assert set(built.graph.outputs) == PREDICTORS[built.spec.head]


@EVERY_ENGINE
def test_predictors_and_decode_stay_float(built: Built, engine: str) -> None:
    plan = built.plans[engine]
    behind = built.graph.decode_tensors
    assert OUTPUT in behind
    assert not behind & set(plan.activations)
    assert not plan.convolutions & PREDICTORS[built.spec.head]
    assert plan.float_readers >= PREDICTORS[built.spec.head]


@EVERY_ENGINE
def test_the_ends_of_the_towers_multiply_bytes(built: Built, engine: str) -> None:
    """They are a sixth of the network: left float, an INT8 file would not be one."""
    plan = built.plans[engine]
    assert plan.convolutions >= TOWER_ENDS[built.spec.head]


@pytest.mark.default_cases("dfl-ov")
@EVERY_ENGINE
def test_an_int8_file_is_proved_and_says_nearly_the_same(
    built: Built, engine: str, tmp_path: Path, feeds: Any, run_onnx: Run
) -> None:
    path = tmp_path / "x.onnx"
    made = quantise(built.model, built.plans[engine], built.statistics, FULL_RANGE)
    path.write_bytes(made.SerializeToString())
    with closing(open_backend(path, engine, threads=1)) as backend:
        proof = prove(path, backend, "int8")
        ours = backend.infer({"images": feeds[0]})[OUTPUT]
    assert proof["stored"]["int8"] > 1_000_000
    true = built.scores(run_onnx(built.model, feeds[0]))
    assert np.square(built.scores(ours) - true).mean() < 0.05 * true.var()


def test_an_fp16_file_decodes_in_fp32_and_says_the_same(built: Built, feeds: Any, run_onnx: Run) -> None:
    made = to_fp16(DetectorGraph(built.model, built.spec.scale), {}).model
    kinds = {t.name: t.data_type for t in made.graph.initializer}
    assert {kinds[f"{name}.weight"] for name in PREDICTORS[built.spec.head]} == {TensorProto.FLOAT16}
    decode = [kinds[name] for name in kinds if ".decode." in name and not name.endswith(".shape")]
    assert decode
    assert set(decode) == {TensorProto.FLOAT}
    ours, theirs = run_onnx(made, feeds[0]), run_onnx(built.model, feeds[0])
    np.testing.assert_allclose(built.scores(ours), built.scores(theirs), atol=0.02)
