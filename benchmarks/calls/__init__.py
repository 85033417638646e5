"""What `benchmarks/build_calls.py` puts calls together with: truth, sound, files, corpora, talk."""
