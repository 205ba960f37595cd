"""Accepts triggers: looked up, checked, sealed, and committed in groups."""
