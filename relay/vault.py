"""The vault: a ring of AES-256-GCM keys that seals values and binds each to its owner.

A sealed value is ``version (1 byte) | length of key id (1) | key id | nonce (12, random) | ciphertext and tag``.
Everything before the nonce, and the owner's text, is associated data (NIST SP 800-38D): a value pasted under
another owner, or under another key's name, does not open.

A key of the ring is never used directly. HKDF-SHA256 (RFC 5869) derives one root for sealing and one for macs;
each owner is sealed under its own key, HMAC-SHA256(sealing root, associated data). Random nonces are safe for
2**32 values a key, which one key for everything would pass within days at full load; an owner has a handful.
"""

from __future__ import annotations

import hmac
import re
import secrets
import time
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from relay.errors import SettingsError, VaultError

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
MAX_KEYS: Final = 32
_VERSION: Final = 1
_KEY_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,32}\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Key:
    """One key of the ring, as what is derived from it; its repr shows the id alone."""

    id: str
    header: bytes = field(repr=False)
    sealing: bytes = field(repr=False)
    mac: bytes = field(repr=False)

    @classmethod
    def derive(cls, key_id: str, secret: bytes) -> _Key:
        name = key_id.encode("ascii")
        return cls(
            id=key_id,
            header=bytes((_VERSION, len(name))) + name,
            sealing=_hkdf(secret, b"webhook relay: sealing"),
            mac=_hkdf(secret, b"webhook relay: mac"),
        )

    def cipher(self, associated: bytes) -> AESGCM:
        return AESGCM(hmac.digest(self.sealing, associated, "sha256"))


class Vault:
    """Seals with the newest key of the ring, opens with the key that a sealed value names."""

    __slots__ = ("_keys", "_newest")

    def __init__(self, keys: tuple[_Key, ...]) -> None:
        self._keys = {key.id: key for key in keys}
        self._newest = keys[0]

    @classmethod
    def from_text(cls, keys: str) -> Vault:
        """Reads ``id:base64,id:base64``, newest first; each key is 32 bytes.

        Raises:
            SettingsError: no key, too many, a malformed one, or an id that occurs twice. Never quotes a key.
        """
        entries = [entry.strip() for entry in keys.strip().split(",")]
        if len(entries) > MAX_KEYS:
            raise SettingsError(f"A key ring holds at most {MAX_KEYS} keys.")
        ring = tuple(_read_key(entry, number) for number, entry in enumerate(entries, start=1))
        if len({key.id for key in ring}) != len(ring):
            raise SettingsError("Two vault keys have the same id.")
        return cls(ring)

    @staticmethod
    def new_key_text() -> str:
        """A fresh key as one entry of a ring, ``id:base64``; its id tells when it was made (UTC)."""
        made = time.strftime("%Y%m%d%H%M%S", time.gmtime())
        return f"k{made}-{secrets.token_hex(4)}:{b64encode(secrets.token_bytes(KEY_BYTES)).decode('ascii')}"

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The ids of the ring, newest first."""
        return tuple(self._keys)

    def seal(self, plaintext: bytes, owner: str) -> bytes:
        """The plaintext, encrypted under the newest key and bound to ``owner``."""
        key = self._newest
        associated = key.header + owner.encode()
        nonce = secrets.token_bytes(NONCE_BYTES)
        return key.header + nonce + key.cipher(associated).encrypt(nonce, plaintext, associated)

    def open(self, sealed: bytes, owner: str) -> bytes:
        """What was sealed for ``owner``.

        Raises:
            VaultError: malformed, sealed under a key that is not in the ring, altered, or sealed for another owner.
        """
        key = self._keys.get(self.key_id_of(sealed))
        if key is None:
            raise VaultError
        start = len(key.header)
        associated = key.header + owner.encode()
        nonce = sealed[start : start + NONCE_BYTES]
        try:
            return key.cipher(associated).decrypt(nonce, sealed[start + NONCE_BYTES :], associated)
        except InvalidTag:
            raise VaultError from None

    @staticmethod
    def key_id_of(sealed: bytes) -> str:
        """The id of the key that a value was sealed under (what rotation looks for).

        Raises:
            VaultError: this is no sealed value.
        """
        if len(sealed) < 2 or sealed[0] != _VERSION or len(sealed) < 2 + sealed[1] + NONCE_BYTES + TAG_BYTES:
            raise VaultError
        key_id = sealed[2 : 2 + sealed[1]].decode("latin-1")
        if not _KEY_ID.match(key_id):
            raise VaultError
        return key_id

    def macs(self, *parts: bytes) -> tuple[str, ...]:
        """HMAC-SHA256 (RFC 2104) of the parts under each key of the ring, newest first, in hex.

        Each part is preceded by its length, so ``(b"ab", b"c")`` and ``(b"a", b"bc")`` differ.
        """
        message = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
        return tuple(hmac.digest(key.mac, message, "sha256").hex() for key in self._keys.values())

    def __repr__(self) -> str:
        return f"Vault({', '.join(self._keys)})"


def target_owner(plugin: str, webhook_id: str, revision: int, shape: bytes) -> str:
    """The owner of a sealed target. Ids hold no slash, so no two owners read the same.

    ``shape`` is the revision's shape as stored: it lies there in the clear, and with one that somebody loosened the
    target does not open.
    """
    return f"target/{plugin}/{webhook_id}/{revision}/{sha256(shape).hexdigest()}"


def payload_owner(plugin: str, reference_id: str) -> str:
    """The owner of a sealed trigger."""
    return f"payload/{plugin}/{reference_id}"


def result_owner(plugin: str, reference_id: str) -> str:
    """The owner of the sealed data of an answer."""
    return f"result/{plugin}/{reference_id}"


def raw_owner(plugin: str, reference_id: str) -> str:
    """The owner of what a chain needs of a step's answer, before masking."""
    return f"raw/{plugin}/{reference_id}"


def secrets_owner(plugin: str, reference_id: str) -> str:
    """The owner of the texts that a chain hides in its steps' answers."""
    return f"secrets/{plugin}/{reference_id}"


def token_owner(plugin: str, webhook_id: str, revision: int) -> str:
    """The owner of a sealed access token."""
    return f"token/{plugin}/{webhook_id}/{revision}"


def _hkdf(secret: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=purpose).derive(secret)


def _read_key(entry: str, number: int) -> _Key:
    key_id, colon, text = entry.partition(":")
    if not colon or not _KEY_ID.match(key_id):
        raise SettingsError(f"Vault key {number} is not of the form id:base64, with an id of A-Z a-z 0-9 _ -.")
    try:
        secret = b64decode(text, validate=True)
    except ValueError:  # also binascii.Error and non-ASCII text; the cause would quote nothing, but says nothing either
        raise SettingsError(f"Vault key {number} is not valid base64.") from None
    if len(secret) != KEY_BYTES:
        raise SettingsError(f"Vault key {number} is not {KEY_BYTES} bytes long.")
    return _Key.derive(key_id, secret)
