"""TensorRT engines: library loading, CUDA driver, identity, layers."""
