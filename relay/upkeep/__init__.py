"""Tasks of workers besides calls: sweeps, callbacks, alerts."""
