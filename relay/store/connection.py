"""Connections to the store, as every process makes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

if TYPE_CHECKING:
    from relay.settings import Settings

#: A command that gets no answer is repeated this often, then the store counts as away.
_RETRIES: Final = 2
_SOCKET_TIMEOUT_S: Final = 5
_CONNECT_TIMEOUT_S: Final = 2
#: As many threads of an API process may want the store at once, all its waiters among them (redis-py stops at 100).
_MAX_CONNECTIONS: Final = 4_096


def connect(settings: Settings) -> redis.Redis:
    """Make a client of the store; replies are bytes. Its retries are few: the API answers 503 rather than wait."""
    url = settings.store_url.reveal()
    keepalive = {} if url.startswith("unix:") else {"socket_keepalive": True}  # redis-py refuses it for a unix socket
    return redis.Redis.from_url(
        url,
        socket_timeout=_SOCKET_TIMEOUT_S,
        socket_connect_timeout=_CONNECT_TIMEOUT_S,
        max_connections=_MAX_CONNECTIONS,
        health_check_interval=15,
        retry=Retry(ExponentialBackoff(cap=0.4, base=0.05), _RETRIES),
        **keepalive,
    )
