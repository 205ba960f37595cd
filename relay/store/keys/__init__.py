"""The names of all keys, and which bucket each belongs to."""
