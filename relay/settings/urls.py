"""Reads the addresses of store and broker. Pure; raises ``ValueError`` as `relay.settings.kinds` does."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Final
from urllib.parse import parse_qsl

from relay.settings.kinds import Secret, split_url
from relay.text.server_addresses import BROKER_SENTINEL, CLUSTER, SENTINEL, is_cluster, read_address, scheme_of

_SOCKET_SCHEMES: Final = ("unix", "redis+socket")
_SEVERAL: Final = (*CLUSTER, *SENTINEL, BROKER_SENTINEL)


def redis_url(text: str) -> Secret:
    """Read a URL that redis-py accepts, or one of a cluster or of Sentinels; an empty one stays empty."""
    return _server_url(text, ("redis", "rediss", "unix", *SENTINEL[:1], *CLUSTER[:1]))


def broker_url(text: str) -> Secret:
    """Read a URL for kombu: ``unix://`` is respelt, and certificate checks, which are off by default, are turned on.

    A URL of Sentinels lists their hosts as the store's URL does, ``rediss+sentinel`` with TLS; ``relay.queue`` respells
    it for kombu.
    """
    if is_cluster(text):
        raise ValueError("must be set, and name no cluster: Celery cannot use one")
    if scheme_of(text) == SENTINEL[0]:
        text = f"{BROKER_SENTINEL}{text[len(SENTINEL[0]) :]}"
    if scheme_of(text) in (BROKER_SENTINEL, *SENTINEL):
        return _server_url(text, (BROKER_SENTINEL, *SENTINEL))
    parts = split_url(text)
    if parts.scheme == "rediss" and "ssl_cert_reqs" not in dict(parse_qsl(parts.query)):
        text += f"{'&' if parts.query else '?'}ssl_cert_reqs=required"
    elif parts.scheme == "unix":
        database = dict(parse_qsl(parts.query)).get("db", "0")
        text = f"redis+socket://{parts.netloc}{parts.path}?virtual_host={database}"
    return _server_url(text, ("redis", "rediss", "redis+socket", BROKER_SENTINEL, SENTINEL[1], "amqp", "amqps"))


def is_exposed(url: Secret) -> bool:
    """Return whether a server URL leaves this host without TLS."""
    if scheme_of(url.reveal()) in _SEVERAL:
        address = read_address(url.reveal())
        return not address.encrypted and any(is_elsewhere(host) for host, _ in address.hosts)
    parts = split_url(url.reveal())
    if parts.scheme in ("rediss", "amqps") or parts.scheme in _SOCKET_SCHEMES:
        return False
    return is_elsewhere(parts.hostname or "localhost")


def is_elsewhere(host: str) -> bool:
    """Return whether a host is another machine, or may be."""
    try:
        return not ip_address(host).is_loopback
    except ValueError:
        return host != "localhost"


def _server_url(text: str, schemes: tuple[str, ...]) -> Secret:
    if not text:
        return Secret("")
    if scheme_of(text) in _SEVERAL and scheme_of(text).replace("rediss", "redis") in schemes:
        query = dict(read_address(text).options)
    else:
        parts = split_url(text)
        where = parts.path if parts.scheme in _SOCKET_SCHEMES else parts.hostname
        if parts.scheme not in schemes or not where:
            raise ValueError(f"must be a URL that starts with {', '.join(f'{scheme}://' for scheme in schemes)}")
        query = dict(parse_qsl(parts.query))
    if (
        query.get("ssl_cert_reqs", "required") != "required"
        or query.get("ssl_check_hostname", "true").lower() != "true"
    ):
        raise ValueError("must not turn the check of the server's certificate off: name its CA with ?ssl_ca_certs=")
    return Secret(text)
