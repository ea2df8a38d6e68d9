"""Where frames and detections go: one file per kind."""
