"""Plain Celery + requests: what most teams have."""
