"""Sweeps: what the relay does over a range of loads, beside the peers where they can do it at all."""
