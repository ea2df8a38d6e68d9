"""Estimates of the latency of a model on a device that is not at hand."""
