"""Runners: this machine, Flink, Dataflow, and what their jobs need."""
