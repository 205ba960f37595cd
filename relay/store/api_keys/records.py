"""API keys as the store keeps them: without the secret. A record counts only if the last decision has its digest."""

from __future__ import annotations

import hashlib
import secrets
import string
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import orjson

from relay.store.decisions.chain import GONE, IN_DOUBT

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The fields that the digest covers, in order; a missing field counts as empty.
_FIELDS: Final = (
    *("sha256", "plugin", "scopes", "origins", "last4", "createdAt"),
    *("expiresAt", "name", "lifetime", "revoked"),
)
_ALPHABET: Final = string.digits + string.ascii_letters  # no underscore: a key splits in only one way
_SECRET_CHARS: Final = 43
_YES: Final = "1"
_REVOKED: Final = ".revoked"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key without its secret. Times are milliseconds since the epoch."""

    id: str
    plugin: str
    scopes: frozenset[str]
    origins: frozenset[str]
    last4: str  # of the secret, to tell keys apart
    created_at_ms: int
    digest: str = field(repr=False)  # of the secret
    name: str
    expires_at_ms: int | None  # None: never
    revoked: bool = False
    rotated_lifetime_ms: int | None = None  # for a rotated key, its lifetime before the rotation; 0: for ever
    last_used_at_ms: int | None = None  # to the minute; None: never used

    @property
    def lifetime_ms(self) -> int | None:
        """The lifetime that the key was made with, in milliseconds; None: for ever."""
        if self.rotated_lifetime_ms is not None:
            return self.rotated_lifetime_ms or None
        return None if self.expires_at_ms is None else self.expires_at_ms - self.created_at_ms


def digest_of(secret: str) -> str:
    """Return the SHA-256 of a key's secret, in hex."""
    return hashlib.sha256(secret.encode()).hexdigest()


def new_key(
    plugin: str, scopes: frozenset[str], origins: frozenset[str], name: str, now_ms: int, expires_at_ms: int | None
) -> tuple[str, ApiKey]:
    """Make a key; return its text, which is kept nowhere else, and the key."""
    key_id, secret = secrets.token_hex(8), "".join(secrets.choice(_ALPHABET) for _ in range(_SECRET_CHARS))
    key = ApiKey(key_id, plugin, scopes, origins, secret[-4:], now_ms, digest_of(secret), name, expires_at_ms)
    return f"whk_{key_id}_{secret}", key


def to_fields(key: ApiKey) -> dict[str, str]:
    """Return the fields of a key's record."""
    return {
        "sha256": key.digest,
        "plugin": key.plugin,
        "scopes": orjson.dumps(sorted(key.scopes)).decode(),
        "origins": orjson.dumps(sorted(key.origins)).decode(),
        "last4": key.last4,
        "createdAt": str(key.created_at_ms),
        "expiresAt": "" if key.expires_at_ms is None else str(key.expires_at_ms),
        "name": key.name,
        "lifetime": "" if key.rotated_lifetime_ms is None else str(key.rotated_lifetime_ms),
        "revoked": _YES if key.revoked else "",
    }


def decided_of(key_id: str, fields: Mapping[str, str]) -> str:
    """Return a key's entry in the chain of decisions: the digest of its record, and whether it is revoked."""
    parts = (key_id, *(fields.get(name, "") for name in _FIELDS))
    digest = hashlib.sha256(orjson.dumps(parts)).hexdigest()
    return digest + _REVOKED if fields.get("revoked") == _YES else digest


def is_ended(decided: str) -> bool:
    """Return whether the decision about a key has revoked or deleted it, or may have."""
    return decided == GONE or decided.endswith((_REVOKED, IN_DOUBT))


def from_fields(key_id: str, row: Mapping[bytes, bytes], decided: str) -> ApiKey | None:
    """Read a key from the fields of its record; None if the record is not the one that was ``decided``."""
    fields = {name: row.get(name.encode(), b"").decode("utf-8", "replace") for name in _FIELDS}
    if decided_of(key_id, fields) != decided:
        return None
    return ApiKey(
        id=key_id,
        plugin=fields["plugin"],
        scopes=frozenset(orjson.loads(fields["scopes"])),
        origins=frozenset(orjson.loads(fields["origins"])),
        last4=fields["last4"],
        created_at_ms=int(fields["createdAt"]),
        digest=fields["sha256"],
        name=fields["name"],
        expires_at_ms=int(fields["expiresAt"]) if fields["expiresAt"] else None,
        revoked=fields["revoked"] == _YES,
        rotated_lifetime_ms=int(fields["lifetime"]) if fields["lifetime"] else None,
    )


def is_expired(key: ApiKey, now_ms: float) -> bool:
    """Return whether a key has expired."""
    return key.expires_at_ms is not None and key.expires_at_ms <= now_ms
