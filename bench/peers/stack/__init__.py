"""The stack alone: what BullMQ's equal duties cost a call on the relay's own parts (Granian, Celery, kombu, gevent).

It has none of the relay's promises: no keys, limits, leases, replays or audit entries, and a crash loses calls. What
the relay takes beyond it is the relay's own work, of which these promises are a part.
"""
