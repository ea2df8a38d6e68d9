"""Lint rules for quantised ONNX files, one family a module."""
