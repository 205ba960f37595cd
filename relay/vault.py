"""The vault: a ring of AES-256-GCM keys that seals values and binds each to its owner.

A sealed value is ``version (1 byte) | length of key id (1) | key id | nonce (12, random) | ciphertext and tag``.
Everything before the nonce, and the owner's text, is associated data (NIST SP 800-38D): a value pasted under
another owner, or under another key's name, does not open.

A key of the ring is never used directly. HKDF-SHA256 (RFC 5869) derives one root for sealing and one for macs;
each owner is sealed under its own key, HMAC-SHA256(sealing root, associated data). Random nonces are safe for
2**32 values per key. One key for everything would pass that within days at full load; an owner has a handful of values.
"""

from __future__ import annotations

import hmac
import re
import secrets
import ssl
import time
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from relay.errors import SettingsError, VaultError
from relay.settings.private_file import read_private_file

if TYPE_CHECKING:
    from pathlib import Path

    from relay.domain.invocation import Purpose

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
MAX_KEYS: Final = 32
#: Seconds after which a ring's file is checked for changes again.
FILE_AGE_S: Final = 1.0
_VERSION: Final = 1
#: The prefix of the part that is kept of a retired key: ``id:mac:base64``.
_RETIRED: Final = "mac:"
_KEY_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,32}\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Key:
    """The secrets derived from one key of the ring; its repr shows only the id.

    A retired key may be kept for a while with its part for MACs only: it recognises Idempotency-Keys and opens nothing.
    """

    id: str
    header: bytes = field(repr=False)
    sealing: HMAC | None = field(repr=False)  # keyed with the root and copied for each owner; None: retired
    mac: bytes = field(repr=False)

    @classmethod
    def derive(cls, key_id: str, secret: bytes) -> _Key:
        name = key_id.encode("ascii")
        return cls(
            id=key_id,
            header=bytes((_VERSION, len(name))) + name,
            sealing=HMAC(_hkdf(secret, b"webhook relay: sealing"), SHA256()),
            mac=_hkdf(secret, b"webhook relay: mac"),
        )

    def cipher(self, associated: bytes) -> AESGCM:
        if self.sealing is None:
            raise VaultError
        keyed = self.sealing.copy()
        keyed.update(associated)
        return AESGCM(keyed.finalize())


class Vault:
    """Seals with the newest key of the ring, opens with the key that a sealed value names.

    A ring from a file is read again if the file has changed, which is checked once a second, and when a value names an
    unknown key. So keys can be added, promoted and retired while processes run.
    """

    __slots__ = ("_file", "_keys", "_looked_at_s", "_stamp")

    def __init__(self, keys: dict[str, _Key], file: Path | None = None) -> None:
        self._keys = keys  # by id, newest first
        self._file = file
        self._stamp: tuple[int, int] | None = None  # the first look reads the file anyhow: it may have changed by now
        self._looked_at_s = time.monotonic()

    @classmethod
    def from_text(cls, keys: str) -> Vault:
        """Read ``id:base64,id:base64``, newest first; each key is 32 bytes.

        Raises:
            SettingsError: no key, too many, a malformed one, or an id that occurs twice. Never quotes a key.
        """
        return cls(_read_ring(keys))

    @classmethod
    def from_file(cls, file: Path) -> Vault:
        """Read a ring from a file that no other user may read, and follow its changes. Raises ``SettingsError``."""
        return cls(_read_ring(read_private_file(file)), file)

    def _follow(self) -> None:
        """Read the ring's file again if a second has passed and it has changed."""
        if self._file is not None and time.monotonic() - self._looked_at_s >= FILE_AGE_S:
            self._read_again()

    def _read_again(self) -> None:
        if self._file is None:
            return
        self._looked_at_s = time.monotonic()
        stamp = _stamp_of(self._file)
        if stamp in (None, self._stamp):
            return
        try:
            self._keys = _read_ring(read_private_file(self._file))
        except SettingsError:
            return  # the file may be half written: the known ring stays until the next check
        self._stamp = stamp

    @staticmethod
    def new_key_text() -> str:
        """Make a fresh key as one entry of a ring, ``id:base64``; its id tells when it was made (UTC)."""
        made = time.strftime("%Y%m%d%H%M%S", time.gmtime())
        return f"k{made}-{secrets.token_hex(4)}:{b64encode(secrets.token_bytes(KEY_BYTES)).decode('ascii')}"

    @staticmethod
    def retired_text(entry: str) -> str:
        """Return the part of a ring's entry that is kept when it retires, which only makes MACs."""
        key = _read_key(entry, 1)
        return f"{key.id}:{_RETIRED}{b64encode(key.mac).decode('ascii')}"

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The ids of the keys that open values, newest first."""
        self._follow()
        return tuple(key.id for key in self._keys.values() if key.sealing is not None)

    def seal(self, plaintext: bytes, owner: str) -> bytes:
        """Encrypt the plaintext under the newest key, bound to ``owner``."""
        self._follow()
        key = next(iter(self._keys.values()))
        associated = key.header + owner.encode()
        nonce = ssl.RAND_bytes(NONCE_BYTES)  # os.urandom gives up the interpreter lock
        return key.header + nonce + key.cipher(associated).encrypt(nonce, plaintext, associated)

    def open(self, sealed: bytes, owner: str) -> bytes:
        """Open a value that was sealed for ``owner``.

        Raises:
            VaultError: malformed, sealed under a key that is not in the ring, altered, or sealed for another owner.
        """
        key_id = self.key_id_of(sealed)
        if key_id not in self._keys:
            self._read_again()  # another process may already seal with a new key
        key = self._keys.get(key_id)
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
        """Return the id of the key that a value was sealed under, which rotation looks for.

        Raises:
            VaultError: this is not a sealed value.
        """
        if len(sealed) < 2 or sealed[0] != _VERSION or len(sealed) < 2 + sealed[1] + NONCE_BYTES + TAG_BYTES:
            raise VaultError
        key_id = sealed[2 : 2 + sealed[1]].decode("latin-1")
        if not _KEY_ID.match(key_id):
            raise VaultError
        return key_id

    def macs(self, *parts: bytes) -> tuple[str, ...]:
        """Return the HMAC-SHA256 (RFC 2104) of the parts under each key of the ring, newest first, in hex.

        Each part is preceded by its length, so ``(b"ab", b"c")`` and ``(b"a", b"bc")`` differ.
        """
        self._follow()
        message = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
        return tuple(hmac.digest(key.mac, message, "sha256").hex() for key in self._keys.values())

    def has_signed(self, mac: str, *parts: bytes) -> bool:
        """Return whether this is the MAC of the parts under a key of the ring that also opens values."""
        macs, opening = dict(zip(self._keys, self.macs(*parts), strict=True)), self.key_ids
        return any(hmac.compare_digest(mac.encode(), macs[key_id].encode()) for key_id in opening)

    def __repr__(self) -> str:
        return f"Vault({', '.join(self._keys)})"


def target_owner(plugin: str, webhook_id: str, revision: int, stamp: str, shape: bytes) -> str:
    """Return the owner of a sealed target. Ids contain no slash, so no two owners have the same text.

    ``stamp`` is the revision's own: a target does not open for another revision that was given the same number.
    ``shape`` is the revision's shape as stored. It is stored in the clear; if somebody has loosened it, the target does
    not open.
    """
    return f"target/{plugin}/{webhook_id}/{revision}/{stamp}/{sha256(shape).hexdigest()}"


def payload_owner(plugin: str, reference_id: str, purpose: Purpose, stamp: str) -> str:
    """Return the owner of a sealed trigger. ``stamp`` is that of the revision that it was accepted for.

    The trigger opens only for the call that it was accepted for: a record that somebody has changed cannot send it to a
    hidden or removed webhook, or by an old revision.
    """
    webhook_id, revision, pins, parent, step = purpose
    pinned = "" if not pins else sha256(pins.encode()).hexdigest()
    place = "" if parent is None else f"{parent}/{step}"
    return f"payload/{plugin}/{reference_id}/{webhook_id}/{revision}/{stamp}/{pinned}/{place}"


def result_owner(plugin: str, reference_id: str) -> str:
    """Return the owner of the sealed data of an answer."""
    return f"result/{plugin}/{reference_id}"


def raw_owner(plugin: str, reference_id: str, parent: str, step: int) -> str:
    """Return the owner of a step's unmasked answer, which only that chain can open, and only at that step."""
    return f"raw/{plugin}/{parent}/{step}/{reference_id}"


def secrets_owner(plugin: str, reference_id: str, step: int) -> str:
    """Return the owner of the texts that a chain hides in the answers of one of its steps."""
    return f"secrets/{plugin}/{reference_id}/{step}"


def token_owner(plugin: str, webhook_id: str, revision: int, stamp: str) -> str:
    """Return the owner of a sealed access token."""
    return f"token/{plugin}/{webhook_id}/{revision}/{stamp}"


def secret_owner(plugin: str, name: str) -> str:
    """Return the owner of a plugin's secret, to which registrations refer by its name."""
    return f"secret/{plugin}/{name}"


def subject_key_owner(plugin: str) -> str:
    """Return the owner of the key that hashes a plugin's subjects."""
    return f"subjects/{plugin}"


def _hkdf(secret: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=purpose).derive(secret)


def _read_ring(text: str) -> dict[str, _Key]:
    entries = [entry.strip() for entry in text.strip().split(",")]
    if len(entries) > MAX_KEYS:
        raise SettingsError(f"A key ring holds at most {MAX_KEYS} keys.")
    ring = tuple(_read_key(entry, number) for number, entry in enumerate(entries, start=1))
    by_id = {key.id: key for key in ring}
    if len(by_id) != len(ring):
        raise SettingsError("Two vault keys have the same id.")
    if ring[0].sealing is None:
        raise SettingsError("The first vault key is retired: it cannot seal.")
    return by_id


def _stamp_of(file: Path) -> tuple[int, int] | None:
    """Return a value that differs between versions of a file; None if there is no file now."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino


def _read_key(entry: str, number: int) -> _Key:
    key_id, colon, text = entry.partition(":")
    is_retired, text = text.startswith(_RETIRED), text.removeprefix(_RETIRED)
    if not colon or not _KEY_ID.match(key_id):
        raise SettingsError(f"Vault key {number} is not of the form id:base64, with an id of A-Z a-z 0-9 _ -.")
    try:
        secret = b64decode(text, validate=True)
    except ValueError:  # binascii.Error too, and non-ASCII text; the cause would quote nothing and explain nothing
        raise SettingsError(f"Vault key {number} is not valid base64.") from None
    if len(secret) != KEY_BYTES:
        raise SettingsError(f"Vault key {number} is not {KEY_BYTES} bytes long.")
    return _Key(key_id, header=b"", sealing=None, mac=secret) if is_retired else _Key.derive(key_id, secret)
