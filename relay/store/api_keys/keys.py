"""API keys, ``whk_<id>_<secret>``. The store keeps only the SHA-256 and the last four characters of the secret.

43 characters, each one of 62, hold 256 random bits: too many to guess, so a fast hash is enough.
"""

from __future__ import annotations

import hmac
import logging
import re
import time
from collections import OrderedDict
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote

from redis.cluster import RedisCluster

from relay.audit.actor import actor
from relay.audit.entry import Act, AuditEntry
from relay.errors import BadParameter, NotFound, RelayError, Unauthenticated, Unavailable
from relay.store.api_keys.records import (
    ApiKey,
    KeyRecord,
    decided_of,
    digest_of,
    from_fields,
    is_ended,
    is_expired,
    new_record,
    to_fields,
    used_at,
)
from relay.store.api_keys.rules import key_faults
from relay.store.decisions.chain import GONE, key_subject
from relay.store.decisions.decisions import AGE_S, STALE, Decisions
from relay.store.keys import keyspace
from relay.store.keys.keyspace import SINGLE, Keyspace
from relay.store.keys.names import SHARED_ROOT
from relay.store.scripting.scripts import Scripts
from relay.store.server.availability import going_on_without
from relay.store.server.clock import time_ms_at
from relay.store.server.errors import adding_sentence, is_answer, store_errors
from relay.store.server.fields import StoredFields
from relay.store.server.replies import replies_to
from relay.telemetry.log import Event, event

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from redis import Redis

    from relay.store.decisions.chain import ChainEnd
    from relay.vault import Vault

#: How long, in seconds, a process uses a key that it has read: a revoked key works at most this much longer.
KEY_AGE_S: Final = 1.0
#: How long, in seconds, a key that a process has read and verified opens the door while the server of a cluster which
#: has the keys is silent. Revocations that the process has heard of are honoured.
KEPT_S: Final = 600.0
#: How exactly, in seconds, a key's last use is known.
USE_PERIOD_S: Final = 60.0
_MAX_REMEMBERED: Final = 10_000  # keys, in one process
_READS: Final = 3  # of a record and the chain, which may be changed between the two

_NO_DIGEST: Final = "0" * 64
_ID: Final = re.compile(r"[0-9a-f]{16}\Z", re.ASCII)
_KEY: Final = re.compile(r"whk_([0-9a-f]{16})_([0-9A-Za-z]{43})\Z", re.ASCII)


class _Remembered(NamedTuple):
    """A record as it was read; None if there was none, or if it could not be verified. Times are monotonic."""

    record: KeyRecord | None
    read_at_s: float
    asked_at_s: float  # when the server was last asked for it: it may have been silent


class _Origins(NamedTuple):
    """The origins that valid keys allowed when they were read."""

    allowed: frozenset[str]
    read_at_s: float
    asked_at_s: float


class ApiKeys:
    """All API keys in the store. Methods raise ``Unavailable`` when the store cannot be reached.

    A record that is not what was decided last about its key counts as missing, and is logged.
    """

    def __init__(
        self, client: Redis, vault: Vault, keys: Keyspace = SINGLE, decisions: Decisions | None = None
    ) -> None:
        self._keys = keys
        self._client: Any = client  # replies are bytes; redis-py types them as bytes or str
        self._scripts = Scripts(client)
        self._decisions = decisions or Decisions(client, vault, SHARED_ROOT)
        self._has_other_servers = isinstance(self._client, RedisCluster)  # with calls that can go on
        self._remembered: dict[str, _Remembered] = {}
        self._verified_keys: OrderedDict[str, _Remembered] = OrderedDict()  # those that opened the door, oldest first
        self._used_at_s: dict[str, float] = {}
        self._origins: _Origins | None = None

    def create(
        self,
        plugin: str,
        scopes: Collection[str],
        origins: Collection[str] = (),
        *,
        name: str = "",
        lifetime_s: float | None = None,
    ) -> tuple[str, ApiKey]:
        """Make a key that expires after ``lifetime_s``; return its text, which cannot be shown again, and the key.

        Raises:
            BadParameter: plugin, a scope, an origin or the name is malformed; its faults say which.
            Unavailable: if the key may exist all the same, the message says so.
        """
        faults = tuple(key_faults(plugin, scopes, origins, name))
        if faults:
            raise BadParameter(faults=faults)
        now_ms = self._now_ms()
        self._scripts.write(
            self._keys.root(plugin), "SADD", self._keys.plugins(self._keys.partition_of(plugin)), plugin
        )
        expires_at_ms = None if lifetime_s is None else now_ms + int(lifetime_s * 1000)
        text, record = new_record(plugin, frozenset(scopes), frozenset(origins), name, now_ms, expires_at_ms)
        entry = _entry(now_ms, Act.KEY_CREATE, record.key, "created")
        next(end for end in self._decisions.ends() if self._write_new(end, record, entry))
        return text, record.key

    def rotate(self, key_id: str, overlap_s: float) -> tuple[str, ApiKey, ApiKey]:
        """Make a new key like this one, and let this one end after ``overlap_s``.

        Returns the new key's text, the new key, and the old one. The new key has the lifetime with which the old one
        was made, even if the old one was rotated before.

        Raises:
            NotFound: there is no such key, or it is revoked or expired.
            Unavailable: if the new key may exist all the same, the message says so.
        """
        now_ms = self._now_ms()
        old = self._live(key_id, now_ms)
        ending, end_ms = old.key, now_ms + int(overlap_s * 1000)
        expires_at_ms = None if old.lifetime_ms is None else now_ms + old.lifetime_ms
        text, new = new_record(ending.plugin, ending.scopes, ending.origins, ending.name, now_ms, expires_at_ms)
        for end in self._decisions.ends():
            if self._decisions.value(key_subject(new.key.id)):
                break  # it was written by a run whose reply was lost
            old = self._live(key_id, now_ms)
            ending = replace(old.key, expires_at_ms=min(end_ms, old.key.expires_at_ms or end_ms))
            entry = _entry(now_ms, Act.KEY_ROTATE, old.key, "rotated", new.key.id)
            changed = replace(old, key=ending, rotated_lifetime_ms=old.lifetime_ms or 0)
            if self._write_new(end, new, entry, old, changed):
                break
        return text, new.key, ending

    def _live(self, key_id: str, now_ms: int) -> KeyRecord:
        """Return the record of a key that has not ended. Raises `NotFound`."""
        record = self._verified(key_id)
        if record is None or record.key.revoked or is_expired(record.key, now_ms):
            raise NotFound("There is no such key, or it has ended.")
        return record

    def list(self, plugin: str | None = None) -> list[ApiKey]:
        """List the verified keys of a plugin, or of all plugins, including revoked and expired ones, oldest first."""
        found = [record.key for record in self._every().values() if record and plugin in (None, record.key.plugin)]
        return sorted(found, key=lambda key: (key.created_at_ms, key.id))

    def unverified(self) -> tuple[str, ...]:
        """Return the ids of records that fail verification, and ``decisions`` if that chain was tampered with."""
        ids = tuple(sorted(key_id for key_id, record in self._every().items() if record is None))
        return ids if self._decisions.is_intact else (*ids, "decisions")

    def revoke(self, key_id: str) -> ApiKey | None:
        """Revoke a key for good; every process refuses it within ``KEY_AGE_S``. Raises ``NotFound``.

        A record that fails verification is deleted; then None is returned.
        """
        if self._verified(key_id) is None and key_id in self.unverified():
            self._delete(key_id)
            return None
        return next(key for end in self._decisions.ends() if (key := self._revoked(end, key_id)))

    def _revoked(self, end: ChainEnd, key_id: str) -> ApiKey | None:
        record = self._verified(key_id)
        if record is None:
            raise NotFound("There is no such key.")
        revoked = replace(record, key=replace(record.key, revoked=True))
        # It may be this call that a lost reply belongs to: what is revoked already is confirmed, without another entry.
        entry = None if record.key.revoked else _entry(self._now_ms(), Act.KEY_REVOKE, record.key, "revoked")
        return revoked.key if self._write(end, revoked, entry=entry) else None

    def _delete(self, key_id: str) -> None:
        """Delete the record of a key; nothing in it can be relied on, not even its plugin."""
        subject = quote(key_id, safe="")  # somebody else may have chosen it
        entry = AuditEntry(self._now_ms(), Act.KEY_REVOKE, actor(), "", subject, outcome="revoked")
        next(end for end in self._decisions.ends() if self._write(end, entry=entry, deleted=(key_id,)))

    def authenticate(self, key_text: str) -> ApiKey:
        """Return the key that has this text.

        Raises ``Unauthenticated``: the same for every fault, but who holds the whole of an expired key is told so.
        """
        found = _KEY.match(key_text)
        if found is None:
            raise Unauthenticated
        key_id, secret = found.groups()
        read = self._read(key_id)
        record = read.record
        # Compare even if there is no such key, so that the time taken reveals nothing.
        matches = hmac.compare_digest(digest_of(secret), record.digest if record else _NO_DIGEST)
        if record is None or not matches or record.key.revoked:
            raise Unauthenticated
        if is_expired(record.key, time.time() * 1000):
            raise Unauthenticated("This key has expired: make another with `relay keys create`.")
        if self._has_other_servers:
            self._keep(key_id, read)
        self._note_use(key_id)
        return record.key

    def origins(self) -> frozenset[str]:
        """Return every origin that any valid key allows, as of `KEY_AGE_S` ago, or `KEPT_S` if it is silent."""
        now_s, known = time.monotonic(), self._origins
        if known is not None and now_s - known.asked_at_s < KEY_AGE_S:
            return known.allowed
        try:
            with going_on_without():
                now_ms = time.time() * 1000
                valid = [key for key in self.list() if not key.revoked and not is_expired(key, now_ms)]
            known = _Origins(frozenset(origin for key in valid for origin in key.origins), now_s, now_s)
        except Unavailable:
            if known is None or now_s - known.read_at_s >= KEPT_S:
                raise
            known = known._replace(asked_at_s=now_s)
        self._origins = known
        return known.allowed

    def _every(self) -> dict[str, KeyRecord | None]:
        with store_errors():
            members = self._client.smembers(keyspace.api_keys())
        ids = [key_id.decode("utf-8", "backslashreplace") for key_id in members]
        names = [*map(keyspace.api_key, ids), keyspace.api_key_uses()]
        *rows, used = replies_to(self._client, [("HGETALL", name) for name in names])
        uses = StoredFields(names[-1], used)
        self._decisions.refresh()
        verified = {
            key_id: self._decided(key_id, row) or self._verified(key_id)
            for key_id, row in zip(ids, rows, strict=True)
            if row
        }
        return {key_id: record and used_at(record, uses.number(key_id)) for key_id, record in verified.items()}

    def _verified(self, key_id: str) -> KeyRecord | None:
        """Read and verify one record as it is now; None if it is not what was decided last, which is logged."""
        if not _ID.match(key_id):
            return None
        self._decisions.refresh(AGE_S)
        for _ in range(_READS):
            (row,) = replies_to(self._client, [("HGETALL", keyspace.api_key(key_id))])
            record = self._decided(key_id, row)
            if record is not None or not row:
                return record
            self._decisions.refresh()  # the key may have been changed since the chain was read, or the record
        event(Event.KEY_UNVERIFIED, level=logging.ERROR, key=key_id)
        return None

    def _decided(self, key_id: str, row: Mapping[bytes, bytes] | Exception) -> KeyRecord | None:
        """Return a record that was read; None if it is not the one that was decided last."""
        fields = {} if isinstance(row, Exception) else row
        return from_fields(key_id, fields, self._decisions.value(key_subject(key_id)))

    def _read(self, key_id: str) -> _Remembered:
        """Return a record that the server was asked for at most ``KEY_AGE_S`` ago.

        Missing keys are remembered too, so that they take as long. If the server is silent, and others are not, a key
        that opened the door in the last ``KEPT_S`` still does, unless this process has heard that it is revoked.
        """
        now_s = time.monotonic()  # taken before the read, so that a remembered record is never older than it claims
        remembered = self._remembered.get(key_id)
        if remembered is not None and now_s - remembered.asked_at_s < KEY_AGE_S:
            return remembered
        kept = self._verified_keys.get(key_id)
        if kept is None or now_s - kept.read_at_s >= KEPT_S:
            read = _Remembered(self._verified(key_id), now_s, now_s)
        else:
            read = self._read_or_kept(key_id, kept, now_s)
        if len(self._remembered) >= _MAX_REMEMBERED:
            self._remembered.clear()  # entries last for a second: evicting them in order is not worth it
        self._remembered[key_id] = read
        return read

    def _read_or_kept(self, key_id: str, kept: _Remembered, now_s: float) -> _Remembered:
        try:
            with going_on_without():
                return _Remembered(self._verified(key_id), now_s, now_s)
        except Unavailable:
            if is_ended(self._decisions.value(key_subject(key_id))):
                raise Unauthenticated from None
            return kept._replace(asked_at_s=now_s)

    def _keep(self, key_id: str, read: _Remembered) -> None:
        """Remember a key that opens the door, and when it was read."""
        self._verified_keys[key_id] = read
        self._verified_keys.move_to_end(key_id)
        if len(self._verified_keys) > _MAX_REMEMBERED:
            self._verified_keys.popitem(last=False)

    def _write_new(self, end: ChainEnd, new: KeyRecord, entry: AuditEntry, *changed: KeyRecord) -> bool:
        """Write a new key; leave nothing of it behind if the server refuses it, for then its text is lost.

        ``changed`` is another record to write with it: before and after the change. Returns as `_write`.
        """
        lost = (
            f"It is not known whether key {new.key.id} was made. Its text is lost: if `relay keys list` shows it,"
            f" revoke it (`relay keys revoke {new.key.id}`) and make another one."
        )
        if changed:
            lost += f" Key {changed[0].key.id} may have been given an end."
        try:
            return self._write(end, new, *changed[1:], entry=entry)
        except RelayError as error:
            if is_answer(error):
                with adding_sentence(lost, RelayError):
                    self._take_back(new, *changed)
            else:
                error.add(lost)
            raise

    def _take_back(self, new: KeyRecord, *changed: KeyRecord) -> None:
        """Undo a write that the server refused, but may have done in part."""
        for end in self._decisions.ends():
            restored = [
                before
                for before, after in zip(changed[::2], changed[1::2], strict=True)
                if self._decisions.value(key_subject(after.key.id)) == decided_of(after.key.id, to_fields(after))
            ]
            if self._write(end, *restored, deleted=(new.key.id,)):
                return

    def _write(
        self, end: ChainEnd, *records: KeyRecord, entry: AuditEntry | None = None, deleted: Collection[str] = ()
    ) -> bool:
        """Write and delete records in one step, with what is decided about them and the audit entry.

        Returns whether that was done: not if something else was decided meanwhile.
        """
        args: list[Any] = ["" if entry is None else entry.text(), len(records) + len(deleted)]
        decided = {key_subject(key_id): GONE for key_id in deleted if _ID.match(key_id)}
        for record in records:
            key_id, fields = record.key.id, to_fields(record)
            args += [key_id, len(fields), *chain.from_iterable(fields.items())]
            decided[key_subject(key_id)] = decided_of(key_id, fields)
        for key_id in deleted:
            args += [key_id, 0]
        is_done: bool = self._scripts.run("write_keys", [*args, *end.adding(decided)]) != STALE
        self._decisions.refresh()
        for record in records:
            self._forget(record.key.id)
        return is_done

    def _forget(self, key_id: str) -> None:
        """Read a key again before it opens the door: this process has changed it."""
        self._remembered.pop(key_id, None)
        self._verified_keys.pop(key_id, None)

    def _now_ms(self) -> int:
        with store_errors():
            return time_ms_at(self._client, SHARED_ROOT)

    def _note_use(self, key_id: str) -> None:
        """Record that a key was used, once a minute; admit the caller even if the server takes no writes now."""
        now_s = time.monotonic()
        if now_s - self._used_at_s.get(key_id, -USE_PERIOD_S) < USE_PERIOD_S:
            return
        if len(self._used_at_s) >= _MAX_REMEMBERED:
            self._used_at_s.clear()
        self._used_at_s[key_id] = now_s
        with suppress(Unavailable), going_on_without(), store_errors():
            self._client.hset(keyspace.api_key_uses(), key_id, time_ms_at(self._client, SHARED_ROOT))


def _entry(now_ms: int, act: Act, key: ApiKey, outcome: str, *references: str) -> AuditEntry:
    return AuditEntry(now_ms, act, actor(), key.plugin, key.id, outcome=outcome, references=references)
