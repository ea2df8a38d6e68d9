"""Percentiles, comparisons, and what explains a difference."""
