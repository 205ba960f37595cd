"""Writes what a process reports about itself: log events, and the spans of traces."""
