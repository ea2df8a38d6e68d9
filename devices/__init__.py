"""Device profiles as data, and detection of the device of this machine. Without torch."""
