"""arq + aiohttp on uvloop; arq keeps its results beside its queue."""
