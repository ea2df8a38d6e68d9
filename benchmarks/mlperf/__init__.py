"""Measurements by the rules of MLPerf Inference. They are no official results of MLPerf."""
