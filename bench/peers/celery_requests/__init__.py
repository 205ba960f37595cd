"""Plain Celery + requests, as many teams use them."""
