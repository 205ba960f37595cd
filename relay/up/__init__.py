"""Runs a whole relay on this machine, for `relay up`."""
