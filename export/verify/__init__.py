"""A model file compared with its source, and the limits that it must hold."""
