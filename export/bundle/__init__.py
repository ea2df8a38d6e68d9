"""Bundles: models, what they need on a device, and the proof that they run there as here, in one archive."""
