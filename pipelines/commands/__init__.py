"""The commands of `ser`, one module each."""
