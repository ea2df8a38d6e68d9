"""What can be told of a quantised file by looking at it: one module a family of rules, each ``RULES``."""
