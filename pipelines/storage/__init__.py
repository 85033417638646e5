"""Where files lie: inputs, outputs, bundles; on this machine or in an object store."""
