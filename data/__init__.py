"""Photos for training."""
