"""The Celery workers: a thin layer whose one task calls into ``relay``."""
