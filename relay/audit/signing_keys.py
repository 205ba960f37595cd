"""Ed25519 keys of checkpoints (RFC 8032): the private one that workers sign with, and the public ones that verify."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from relay.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable

_KEY_BYTES: Final = 32
#: Every signed payload begins with this, so that a signature cannot be used for anything else.
_PURPOSE: Final = b"webhook-relay audit 1\n"


def new_private_text() -> str:
    """Make a private key, as ``RELAY_AUDIT_KEY`` takes it."""
    return _text(Ed25519PrivateKey.generate().private_bytes_raw())


class AuditSigner:
    """Signs with the first of its private keys."""

    def __init__(self, text: str) -> None:
        raw = [_decoded(part) for part in text.split(",")]
        self._private = [Ed25519PrivateKey.from_private_bytes(each) for each in raw]
        self.public = PublicKeys(key.public_key() for key in self._private)
        self.key_id = key_id_of(self._private[0].public_key())

    def sign(self, payload: bytes) -> bytes:
        """Return the signature of a payload."""
        return self._private[0].sign(_PURPOSE + payload)


class PublicKeys:
    """The public keys whose signatures are accepted."""

    def __init__(self, keys: Iterable[Ed25519PublicKey]) -> None:
        self._keys = {key_id_of(key): key for key in keys}

    @classmethod
    def from_text(cls, text: str) -> PublicKeys:
        """Read public keys, one per line or separated by commas."""
        parts = text.replace(",", "\n").split()
        return cls(Ed25519PublicKey.from_public_bytes(_decoded(part)) for part in parts)

    def text(self) -> str:
        """Return the keys, one per line."""
        return "".join(f"{_text(key.public_bytes_raw())}\n" for key in self._keys.values())

    def verifies(self, key_id: str, payload: bytes, signature: bytes) -> bool:
        """Return whether a payload was signed with the key of that id."""
        key = self._keys.get(key_id)
        if key is None:
            return False
        try:
            key.verify(signature, _PURPOSE + payload)
        except InvalidSignature:
            return False
        return True


def key_id_of(key: Ed25519PublicKey) -> str:
    """Return the id of a public key: the beginning of its SHA-256, which tells keys apart."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _decoded(text: str) -> bytes:
    try:
        raw = base64.b64decode(text.strip(), validate=True)
    except binascii.Error:
        raw = b""
    if len(raw) != _KEY_BYTES:
        raise SettingsError("An audit key is 32 bytes in base64: `relay audit key --new` makes one.")
    return raw
