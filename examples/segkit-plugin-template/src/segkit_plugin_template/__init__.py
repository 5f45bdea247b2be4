"""A segkit plugin with one model."""
