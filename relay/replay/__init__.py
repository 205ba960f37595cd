"""Replays: jobs that make new invocations from old ones."""
