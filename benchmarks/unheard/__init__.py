"""The parts of `benchmarks/accuracy.py`: bundles on voices that they have never heard."""
