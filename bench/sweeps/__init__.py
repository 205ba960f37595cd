"""Sweeps: the relay's performance over ranges of load, compared with peers where these support the load."""
