"""The door: the relay's HTTP API, a thin WSGI application."""
