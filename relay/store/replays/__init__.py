"""Replay jobs, as the store keeps them."""
