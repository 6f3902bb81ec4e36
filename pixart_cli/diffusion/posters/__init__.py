"""The built-in model's world: what posters can show, in words and in pixels, and a judge of both."""
