"""Floors: what the parts that the relay stands on cost alone, on this machine, in the same run."""
