"""The door: the relay's HTTP API, a thin WSGI application (design, sections 6 and 7)."""
