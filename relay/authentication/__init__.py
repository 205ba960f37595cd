"""Counts failed authentications, by the address that they came from."""
