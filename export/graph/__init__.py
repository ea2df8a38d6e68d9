"""The ONNX graph of a detector: writing it, indexing it, its inputs and outputs."""
