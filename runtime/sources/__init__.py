"""One file per kind of frame source."""
