"""What workers do besides calls: sweeps, callbacks, alerts."""
