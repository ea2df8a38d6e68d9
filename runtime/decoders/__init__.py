"""Decoders of videos and camera streams: PyAV, OpenCV and GStreamer behind one protocol."""
