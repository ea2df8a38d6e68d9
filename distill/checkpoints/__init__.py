"""Checkpoints: our own format, YOLOv5 .pt files, Ultralytics .pt files."""
