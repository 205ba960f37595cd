"""The Celery side that runs things: thin, each task one call into ``relay``."""
