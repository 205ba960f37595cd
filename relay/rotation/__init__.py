"""Rotation of the key rings: a new key is added, promoted, everything is sealed with it, and the old key is retired."""
