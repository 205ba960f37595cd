"""API keys: ``whk_<id>_<secret>``. Of the secret only its SHA-256 and its last four characters are stored.

43 characters of 62 are 256 random bits, which need no slow hash: there is nothing to guess from.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from relay.errors import BadParameter, Fault, NotFound, Unauthenticated
from relay.registration import ID_PATTERN
from relay.store import keyspace
from relay.store.scripts import store_errors

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from redis import Redis

SCOPES: Final = ("trigger", "operate")
MAX_ORIGINS: Final = 32  # of one key
MAX_ORIGIN_CHARS: Final = 300
#: For how long a key that was read is believed: a revoked one works at most this much longer.
KEY_AGE_S: Final = 1.0
_MAX_REMEMBERED: Final = 10_000  # keys, in one process

_ALPHABET: Final = string.digits + string.ascii_letters  # without an underscore: a key reads in one way only
_SECRET_CHARS: Final = 43
_ID: Final = re.compile(r"[0-9a-f]{16}\Z", re.ASCII)
_KEY: Final = re.compile(r"whk_([0-9a-f]{16})_([0-9A-Za-z]{43})\Z", re.ASCII)
_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_ORIGIN: Final = re.compile(
    rf"(https?)://(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-f:.]{{2,45}}\])(?::([1-9][0-9]{{0,4}}))?\Z", re.ASCII
)
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key without its secret."""

    id: str
    plugin: str
    scopes: frozenset[str]
    origins: frozenset[str]
    last4: str  # of the secret, to tell keys apart
    created_at_ms: int
    revoked: bool


class ApiKeys:
    """All API keys in the store. Methods raise ``Unavailable`` when it cannot be reached."""

    def __init__(self, client: Redis) -> None:
        self._client: Any = client  # replies are bytes; redis-py types them as bytes or str
        self._remembered: dict[str, tuple[ApiKey, str, float]] = {}
        self._origins: tuple[frozenset[str], float] | None = None

    def create(self, plugin: str, scopes: Collection[str], origins: Collection[str] = ()) -> tuple[str, ApiKey]:
        """A new key's text, which nobody can show again, and the key.

        Raises:
            BadParameter: plugin, a scope or an origin is malformed; its faults say which.
        """
        faults = tuple(_faults(plugin, scopes, origins))
        if faults:
            raise BadParameter(faults=faults)
        key_id, secret = secrets.token_hex(8), "".join(secrets.choice(_ALPHABET) for _ in range(_SECRET_CHARS))
        with store_errors():
            now_ms = self._now_ms()
            key = ApiKey(key_id, plugin, frozenset(scopes), frozenset(origins), secret[-4:], now_ms, revoked=False)
            pipeline = self._client.pipeline(transaction=True)
            pipeline.hset(keyspace.api_key(key_id), mapping={**_fields(key), "sha256": _digest(secret)})
            pipeline.sadd(keyspace.api_keys(), key_id)
            pipeline.sadd(keyspace.plugins(), plugin)
            pipeline.execute()
        return f"whk_{key_id}_{secret}", key

    def list(self, plugin: str | None = None) -> list[ApiKey]:
        """The keys of a plugin, or of all, revoked ones too, oldest first."""
        with store_errors():
            ids = sorted(self._client.smembers(keyspace.api_keys()))
            pipeline = self._client.pipeline(transaction=False)
            for key_id in ids:
                pipeline.hgetall(keyspace.api_key(key_id.decode()))
            rows = pipeline.execute() if ids else []
        keys = [_api_key(key_id.decode(), row) for key_id, row in zip(ids, rows, strict=True) if row]
        return sorted(
            (key for key in keys if plugin in (None, key.plugin)), key=lambda key: (key.created_at_ms, key.id)
        )

    def revoke(self, key_id: str) -> ApiKey:
        """Ends a key for good; every process has noticed within ``KEY_AGE_S``. Raises ``NotFound``."""
        with store_errors():
            row = self._client.hgetall(keyspace.api_key(key_id)) if _ID.match(key_id) else {}
            if not row:
                raise NotFound("There is no such key.")
            self._client.hsetnx(keyspace.api_key(key_id), "revokedAt", self._now_ms())
        self._remembered.pop(key_id, None)
        return _api_key(key_id, {**row, b"revokedAt": b"1"})

    def authenticate(self, key_text: str) -> ApiKey:
        """The key that a text is. Raises ``Unauthenticated``, the same for every fault."""
        found = _KEY.match(key_text)
        if found is None:
            raise Unauthenticated
        key_id, secret = found.groups()
        key, digest = self._read(key_id)
        # Compared also where there is no such key, so that the time taken tells nothing.
        if not hmac.compare_digest(_digest(secret), digest) or key is None or key.revoked:
            raise Unauthenticated
        return key

    def origins(self) -> frozenset[str]:
        """Every origin that some valid key allows, at most ``KEY_AGE_S`` old."""
        read_at_s = time.monotonic()
        if self._origins is None or read_at_s - self._origins[1] >= KEY_AGE_S:
            origins = frozenset(origin for key in self.list() if not key.revoked for origin in key.origins)
            self._origins = (origins, read_at_s)
        return self._origins[0]

    def _read(self, key_id: str) -> tuple[ApiKey | None, str]:
        read_at_s = time.monotonic()  # before the read: what is remembered is never older than it claims
        remembered = self._remembered.get(key_id)
        if remembered is not None and read_at_s - remembered[2] < KEY_AGE_S:
            return remembered[0], remembered[1]
        with store_errors():
            row = self._client.hgetall(keyspace.api_key(key_id))
        if not row:
            return None, _digest("")
        key, digest = _api_key(key_id, row), row[b"sha256"].decode()
        if len(self._remembered) >= _MAX_REMEMBERED:
            self._remembered.clear()  # they live for a second: not worth an order
        self._remembered[key_id] = (key, digest, read_at_s)
        return key, digest

    def _now_ms(self) -> int:
        seconds, micros = self._client.time()
        return int(seconds) * 1000 + int(micros) // 1000


def origin_fault(origin: str) -> str | None:
    """What is wrong with an allowed origin (RFC 6454, as browsers write it); None if nothing is."""
    found = _ORIGIN.match(origin) if len(origin) <= MAX_ORIGIN_CHARS else None
    if found is None:
        return "must be scheme://host or scheme://host:port, in lower case, without a path or *"
    scheme, port = found[1], int(found[2] or 0)
    if port > 65535:
        return "has a port above 65535"
    if port == _DEFAULT_PORTS[scheme]:
        return f"must leave out :{port}, as browsers do"
    return None


def _faults(plugin: str, scopes: Collection[str], origins: Collection[str]) -> Iterator[Fault]:
    if not ID_PATTERN.match(plugin):
        yield Fault("/plugin", "must have the form of an id")
    if not scopes or not set(scopes) <= set(SCOPES):
        yield Fault("/scopes", f"must be one or more of {', '.join(SCOPES)}")
    if len(origins) > MAX_ORIGINS:
        yield Fault("/origins", f"must be at most {MAX_ORIGINS}")
    for index, origin in enumerate(origins):
        if sentence := origin_fault(origin):
            yield Fault(f"/origins/{index}", sentence)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _fields(key: ApiKey) -> dict[str, Any]:
    return {
        "plugin": key.plugin,
        "scopes": orjson.dumps(sorted(key.scopes)),
        "origins": orjson.dumps(sorted(key.origins)),
        "last4": key.last4,
        "createdAt": key.created_at_ms,
    }


def _api_key(key_id: str, row: dict[bytes, bytes]) -> ApiKey:
    return ApiKey(
        id=key_id,
        plugin=row[b"plugin"].decode(),
        scopes=frozenset(orjson.loads(row[b"scopes"])),
        origins=frozenset(orjson.loads(row[b"origins"])),
        last4=row[b"last4"].decode(),
        created_at_ms=int(row[b"createdAt"]),
        revoked=b"revokedAt" in row,
    )
