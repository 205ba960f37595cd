"""Webhooks, their revisions, and what keeps these authentic."""
