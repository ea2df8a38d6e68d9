"""Backends: one module for each inference library; its name is the backend's name."""
