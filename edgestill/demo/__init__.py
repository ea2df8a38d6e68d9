"""The traffic-light demonstration: light states, overlay, and the whole pipeline in one run."""
