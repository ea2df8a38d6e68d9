"""Data sets on disk: checking, converting, rendering."""
