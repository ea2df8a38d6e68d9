"""Instructions of pre- and post-processing: a measure of their cost that a shared machine can repeat."""
