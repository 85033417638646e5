"""Files of inputs, outputs and bundles, on this machine or in an object store."""
