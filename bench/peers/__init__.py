"""The peers: systems that could be built from existing parts instead of this relay."""
