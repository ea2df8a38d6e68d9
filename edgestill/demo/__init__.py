"""The traffic-light demonstration: light state, overlay, and the whole line in one run."""
