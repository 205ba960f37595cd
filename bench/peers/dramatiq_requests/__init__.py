"""dramatiq + requests, results in its Redis backend."""
