"""Comparison of a model file with its source, and the limits within which it is published."""
