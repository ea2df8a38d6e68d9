"""The options of the verbs that open a model file for inference."""

from __future__ import annotations

import argparse

MODEL = (
    "`student` or `teacher`, a checkpoint folder, .onnx, OpenVINO .xml, TensorRT .engine, or a YOLOv5 .pt "
    "(needs the extra `train`)"
)


def add_arguments(parser: argparse.ArgumentParser, *, threads: bool = True) -> None:
    """Declare ``--backend``, ``--device``, ``--trust-engine``, and ``--threads`` where the speed matters."""
    parser.add_argument(
        "--backend",
        default="auto",
        metavar="NAME",
        help="ort (ONNX Runtime), ov (OpenVINO), trt (TensorRT) or auto: by the file's suffix (default)",
    )
    parser.add_argument(
        "--device",
        metavar="NAME",
        help="cpu; cuda or cuda:N, a GPU by its number (ort, trt); gpu (ov); default: cuda for an .engine, "
        "else cpu",
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
