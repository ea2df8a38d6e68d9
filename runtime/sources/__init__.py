"""Frame sources: one module for each kind or URL scheme."""
