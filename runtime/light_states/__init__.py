"""The state of a traffic light from its image: red, yellow, green, off, or unknown. No torch."""
