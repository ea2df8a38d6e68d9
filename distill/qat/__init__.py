"""INT8 quantisation-aware training."""
