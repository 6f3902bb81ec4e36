"""The stages of `benchmarks/weak_to_strong.py`."""
