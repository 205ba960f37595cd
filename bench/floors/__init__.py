"""Floors: what the parts that the relay is built on cost by themselves, on this machine."""
