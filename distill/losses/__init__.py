"""Detection losses and target assignment."""
