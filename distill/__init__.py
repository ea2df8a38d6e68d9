"""Models, teachers, methods, data and the training loop. torch lives only here."""
