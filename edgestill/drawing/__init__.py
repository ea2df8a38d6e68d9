"""Colours and names of classes, the same in plots, on frames and on contact sheets."""
