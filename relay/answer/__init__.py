"""Reads and masks an endpoint's answer, and makes the result that a caller gets."""
