"""Webhooks, their revisions, secrets and access tokens."""
