"""FP16 and INT8: where a graph is quantised, ranges, weights."""
