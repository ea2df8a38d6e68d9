"""Measurements of training speed."""
