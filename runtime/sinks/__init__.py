"""Sinks of frames and detections: one module for each kind."""
