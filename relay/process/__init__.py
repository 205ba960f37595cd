"""Keeps a process working, and ends it when it cannot go on, or must not go on as it was started."""
