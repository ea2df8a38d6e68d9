"""Training with the roundings of INT8 in the network, where an export would put them."""
