"""Keeps a process working, and ends it when it cannot go on."""
