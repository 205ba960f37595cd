"""Accepts triggers: looks up their webhooks, checks and seals them, and commits them in groups."""
