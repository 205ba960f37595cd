"""API keys, and the list of those that were revoked."""
