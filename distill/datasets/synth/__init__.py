"""Rendered street scenes with traffic lights, labelled exactly by construction."""
