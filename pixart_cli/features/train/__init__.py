"""Training the built-in model: networks, recipe, loop."""
