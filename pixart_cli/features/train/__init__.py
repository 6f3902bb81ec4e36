"""Training: the built-in model's pictures, captions, recipe and measurement."""
