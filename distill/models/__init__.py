"""The networks that are trained here, with the original YOLOv5 state-dict names."""
