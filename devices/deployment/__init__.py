"""Whether a model, a precision and a TensorRT go together on a device that is not at hand, by its profile."""
