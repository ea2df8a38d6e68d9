"""Scripts that quantise a file with another tool, in the environment of that tool, without this project."""
