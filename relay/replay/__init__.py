"""Replay jobs, which make new invocations from old ones."""
