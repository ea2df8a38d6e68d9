"""The machines as data, and which machine this is."""
