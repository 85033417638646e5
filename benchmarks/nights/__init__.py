"""A month of nights with its accidents: `benchmarks/month.py`."""
