"""Checks of an ONNX file before a library reads it."""
