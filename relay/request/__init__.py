"""Checks a caller's trigger against a registration, and renders the exact request."""
