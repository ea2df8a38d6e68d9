"""Several sources at once: their frames, their results, and where the results go."""
