"""Where Beam works: this machine, Flink, Dataflow."""
