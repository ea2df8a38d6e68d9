"""Suites: a matrix of models, precisions, backends, threads, sizes and scenarios, measured on one machine."""
