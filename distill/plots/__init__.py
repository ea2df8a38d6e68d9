"""Plots of data sets and training runs."""
