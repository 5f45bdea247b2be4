"""Training: the loop, its data, its components, and everything that watches it."""
