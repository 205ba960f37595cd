"""The least that an awaited call with BullMQ's equal duties costs in Python: an event loop a process, and no framework.

It has none of the relay's promises: no keys, limits, leases, replays or audit entries, and a crash loses calls. It
tells what Python, the server and the duties themselves cost; the rest is what the relay, Celery and a WSGI server add.
"""
