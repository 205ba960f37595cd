"""taskiq + aiohttp on uvloop, results in its Redis backend."""
