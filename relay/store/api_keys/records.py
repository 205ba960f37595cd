"""API keys as the store keeps them: without the secret, and with a MAC that write access to the server cannot forge."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relay.vault import Vault

#: The fields that the MAC covers, in order; a missing field counts as empty.
_AUTHENTICATED: Final = (
    *("sha256", "plugin", "scopes", "origins", "last4", "createdAt"),
    *("expiresAt", "name", "revocations"),
)
#: Covered only in records that have it, so that records of earlier versions stay valid.
_LIFETIME: Final = "lifetime"
_PURPOSE: Final = b"api key"


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
    """A verified record: the key, its secret's SHA-256, and how many keys had been revoked when it was written."""

    key: ApiKey
    digest: str
    revocations: int
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


def to_fields(record: KeyRecord, vault: Vault) -> dict[str, Any]:
    """Return the fields of a record's hash, MAC included."""
    key = record.key
    fields = {
        "sha256": record.digest,
        "plugin": key.plugin,
        "scopes": orjson.dumps(sorted(key.scopes)).decode(),
        "origins": orjson.dumps(sorted(key.origins)).decode(),
        "last4": key.last4,
        "createdAt": str(key.created_at_ms),
        "expiresAt": "" if key.expires_at_ms is None else str(key.expires_at_ms),
        "name": key.name,
        "revocations": str(record.revocations),
        _LIFETIME: "" if record.rotated_lifetime_ms is None else str(record.rotated_lifetime_ms),
    }
    return {**fields, "mac": _macs(key.id, {name: text.encode() for name, text in fields.items()}, vault)[0]}


def from_fields(key_id: str, row: Mapping[bytes, bytes], vault: Vault) -> KeyRecord | None:
    """Read a record from the fields of its hash; None if its MAC was not made with a key of the ring."""
    fields = {name: row.get(name.encode(), b"") for name in (*_AUTHENTICATED, _LIFETIME)}
    written = row.get(b"mac", b"").decode("latin-1")
    if not any(hmac.compare_digest(written.encode(), mac.encode()) for mac in _macs(key_id, fields, vault)):
        return None
    key = ApiKey(
        id=key_id,
        plugin=fields["plugin"].decode(),
        scopes=frozenset(orjson.loads(fields["scopes"])),
        origins=frozenset(orjson.loads(fields["origins"])),
        last4=fields["last4"].decode(),
        created_at_ms=int(fields["createdAt"]),
        revoked=False,
        name=fields["name"].decode(),
        expires_at_ms=int(fields["expiresAt"]) if fields["expiresAt"] else None,
    )
    lifetime_ms = int(fields[_LIFETIME]) if fields[_LIFETIME] else None
    return KeyRecord(key, fields["sha256"].decode(), int(fields["revocations"]), lifetime_ms)


def _macs(key_id: str, fields: Mapping[str, bytes], vault: Vault) -> tuple[str, ...]:
    names = (*_AUTHENTICATED, _LIFETIME) if fields.get(_LIFETIME) else _AUTHENTICATED
    return vault.macs(_PURPOSE, key_id.encode(), *(fields[name] for name in names))
