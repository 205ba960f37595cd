"""Invocations: their records, transitions, listings and notices, and the policies that hold them back."""
