"""Build TensorRT engines from ONNX, for TensorRT 8.5 to 11 and TensorRT-RTX, in a separate process."""
