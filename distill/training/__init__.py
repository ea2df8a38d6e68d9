"""One training run: setup, steps, schedule, validation, resume."""
