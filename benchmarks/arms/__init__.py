"""Models compared in fresh processes that take turns."""
