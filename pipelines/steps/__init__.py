"""The steps of the night's graph, one module each: `DoFn`s and the pure functions they call."""
