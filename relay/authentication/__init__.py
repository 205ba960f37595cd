"""Who failed to authenticate, from where, and how often."""
