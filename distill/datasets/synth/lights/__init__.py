"""Traffic lights of a rendered street: heads, lamps, poles."""
