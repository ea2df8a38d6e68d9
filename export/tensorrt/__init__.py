"""ONNX to TensorRT engines: one build function for 8.5 to 11 and TensorRT-RTX, in a process of its own."""
