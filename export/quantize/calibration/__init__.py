"""Calibration: images, observers, range methods."""
