"""Beam, thin: the jobs and the command line over `ser_core`."""
