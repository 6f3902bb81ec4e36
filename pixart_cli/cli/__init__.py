"""Floor 3: what a person types. Thin: collect, call one feature, print through output.py."""
