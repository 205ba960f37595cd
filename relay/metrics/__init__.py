"""Metrics: their names, what workers gather, and the page that Prometheus reads."""
