"""The options of the verbs that open a model file for inference."""

from __future__ import annotations

import argparse

MODEL = "`student` or `teacher`, a checkpoint folder, .onnx, OpenVINO .xml or TensorRT .engine"


def add_arguments(parser: argparse.ArgumentParser, *, threads: bool = True) -> None:
    """Declare ``--backend`` and ``--trust-engine``, and ``--threads`` for a verb whose speed matters."""
    parser.add_argument(
        "--backend",
        default="auto",
        metavar="NAME",
        help="ort (ONNX Runtime), ov (OpenVINO), trt (TensorRT) or auto: by the file's suffix (default)",
    )
    if threads:
        parser.add_argument(
            "--threads", type=int, metavar="N", help="CPU threads (default: the backend's choice)"
        )
    parser.add_argument(
        "--trust-engine",
        action="store_true",
        help="run a TensorRT .engine that was not built on this machine; an engine is native code",
    )
