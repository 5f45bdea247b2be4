"""Writing a trained model for another runtime."""
