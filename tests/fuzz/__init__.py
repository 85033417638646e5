"""Fuzzers: what files from strangers do to the programs that read them."""
