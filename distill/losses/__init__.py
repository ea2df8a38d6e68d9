"""Detection losses and the assignment of targets."""
