"""The parts of `benchmarks/build_calls.py`: truth, sound, files, material, talk."""
