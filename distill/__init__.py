"""Models, teachers, methods, data and the training loop; only this package and the CLI import torch."""
