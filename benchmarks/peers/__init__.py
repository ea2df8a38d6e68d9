"""Other programs that do the same, for measurements side by side."""
