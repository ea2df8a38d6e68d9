"""What runs on a device: backends, letterbox, decode, sources, tracking, pipeline. Free of torch."""
