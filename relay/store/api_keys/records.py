"""API keys as the store keeps them: without the secret. A record counts only if its digest was decided last."""

from __future__ import annotations

import hashlib
import secrets
import string
from dataclasses import dataclass, replace
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
_ALPHABET: Final = string.digits + string.ascii_letters  # no underscore: a key splits in one way only
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
    revoked: bool
    name: str = ""
    expires_at_ms: int | None = None  # None: never
    last_used_at_ms: int | None = None  # to the minute; None: never used


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A record: the key, and its secret's SHA-256."""

    key: ApiKey
    digest: str
    rotated_lifetime_ms: int | None = None  # of a rotated key: its lifetime before the rotation; 0: for ever

    @property
    def lifetime_ms(self) -> int | None:
        """The lifetime, in milliseconds, with which the key was made; None: for ever."""
        if self.rotated_lifetime_ms is not None:
            return self.rotated_lifetime_ms or None
        return None if self.key.expires_at_ms is None else self.key.expires_at_ms - self.key.created_at_ms


def digest_of(secret: str) -> str:
    """Return the SHA-256 of a key's secret, in hex."""
    return hashlib.sha256(secret.encode()).hexdigest()


def new_record(
    plugin: str, scopes: frozenset[str], origins: frozenset[str], name: str, now_ms: int, expires_at_ms: int | None
) -> tuple[str, KeyRecord]:
    """Make a key; return its text, which nothing else has, and its record."""
    key_id, secret = secrets.token_hex(8), "".join(secrets.choice(_ALPHABET) for _ in range(_SECRET_CHARS))
    key = ApiKey(
        key_id, plugin, scopes, origins, secret[-4:], now_ms, revoked=False, name=name, expires_at_ms=expires_at_ms
    )
    return f"whk_{key_id}_{secret}", KeyRecord(key, digest_of(secret))


def to_fields(record: KeyRecord) -> dict[str, str]:
    """Return the fields of a record's hash."""
    key = record.key
    return {
        "sha256": record.digest,
        "plugin": key.plugin,
        "scopes": orjson.dumps(sorted(key.scopes)).decode(),
        "origins": orjson.dumps(sorted(key.origins)).decode(),
        "last4": key.last4,
        "createdAt": str(key.created_at_ms),
        "expiresAt": "" if key.expires_at_ms is None else str(key.expires_at_ms),
        "name": key.name,
        "lifetime": "" if record.rotated_lifetime_ms is None else str(record.rotated_lifetime_ms),
        "revoked": _YES if key.revoked else "",
    }


def decided_of(key_id: str, fields: Mapping[str, str]) -> str:
    """Return what the chain has as the decision about a key: the digest of its record, and whether it is revoked."""
    parts = (key_id, *(fields.get(name, "") for name in _FIELDS))
    digest = hashlib.sha256(orjson.dumps(parts)).hexdigest()
    return digest + _REVOKED if fields.get("revoked") == _YES else digest


def is_ended(decided: str) -> bool:
    """Return whether a key was revoked or deleted by what was decided about it, or may have been."""
    return decided == GONE or decided.endswith((_REVOKED, IN_DOUBT))


def from_fields(key_id: str, row: Mapping[bytes, bytes], decided: str) -> KeyRecord | None:
    """Read a record from the fields of its hash; None if it is not the one that was ``decided``."""
    fields = {name: row.get(name.encode(), b"").decode("utf-8", "replace") for name in _FIELDS}
    if decided_of(key_id, fields) != decided:
        return None
    key = ApiKey(
        id=key_id,
        plugin=fields["plugin"],
        scopes=frozenset(orjson.loads(fields["scopes"])),
        origins=frozenset(orjson.loads(fields["origins"])),
        last4=fields["last4"],
        created_at_ms=int(fields["createdAt"]),
        revoked=fields["revoked"] == _YES,
        name=fields["name"],
        expires_at_ms=int(fields["expiresAt"]) if fields["expiresAt"] else None,
    )
    lifetime_ms = int(fields["lifetime"]) if fields["lifetime"] else None
    return KeyRecord(key, fields["sha256"], lifetime_ms)


def is_expired(key: ApiKey, now_ms: float) -> bool:
    """Return whether a key has come to its end."""
    return key.expires_at_ms is not None and key.expires_at_ms <= now_ms


def used_at(record: KeyRecord, at_ms: int | None) -> KeyRecord:
    """Return the record with the time of the key's last use, if it was ever used."""
    return replace(record, key=replace(record.key, last_used_at_ms=at_ms)) if at_ms else record
