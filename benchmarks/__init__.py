"""Measurement of latency, comparison of results, and reports. Without torch."""
