"""Training of the light-state classifier on crops of labelled signal heads."""
