"""Latency, accuracy, comparison, reports. Free of torch."""
