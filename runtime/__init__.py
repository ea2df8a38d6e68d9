"""Inference on a device: backends, pre- and post-processing, sources, tracking, pipeline. Without torch."""
