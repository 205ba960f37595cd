"""Metrics: their names, what is gathered in workers, and the page that Prometheus reads."""
