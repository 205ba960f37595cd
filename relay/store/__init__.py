"""The Redis side: every key, every script, and the records that they keep."""
