"""Rotation of the key rings: a new key opens, then seals, then everything is sealed anew, then the old key goes."""
