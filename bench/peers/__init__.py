"""The peers: what somebody would build from ready parts instead of this relay."""
