"""Lint rules for quantised ONNX files, which are read but not run."""
