"""API keys, ``whk_<id>_<secret>``. The store keeps only the SHA-256 and the last four characters of the secret.

43 characters from an alphabet of 62 hold 256 random bits: too many to guess, so a fast hash is enough.
"""

from __future__ import annotations

import hmac
import logging
import re
import time
from collections import OrderedDict
from contextlib import nullcontext, suppress
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar
from urllib.parse import quote

from redis.cluster import RedisCluster

from relay.audit.actor import actor
from relay.audit.entry import Act, AuditEntry
from relay.errors import BadParameter, NotFound, RelayError, Unauthenticated, Unavailable
from relay.store.api_keys.records import (
    ApiKey,
    decided_of,
    digest_of,
    from_fields,
    is_ended,
    is_expired,
    new_key,
    to_fields,
)
from relay.store.api_keys.rules import key_faults
from relay.store.decisions.chain import GONE, key_subject
from relay.store.decisions.decisions import AGE_S, READS, STALE, Decisions
from relay.store.keys import keyspace
from relay.store.keys.keyspace import SINGLE, Keyspace
from relay.store.keys.names import SHARED_ROOT, key_in
from relay.store.scripting.scripts import Scripts
from relay.store.server.availability import going_on_without
from relay.store.server.clock import time_ms_at
from relay.store.server.errors import adding_sentence, is_answer, store_errors
from relay.store.server.fields import StoredFields
from relay.store.server.replies import replies_to
from relay.telemetry.log import Event, event

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from redis import Redis

    from relay.store.decisions.chain import ChainEnd
    from relay.vault import Vault

T = TypeVar("T")

#: How long a process uses a key that it has read, in seconds: a revoked key works at most this much longer.
KEY_AGE_S: Final = 1.0
#: How long a process accepts a key that it has read and verified while the cluster's server that has the keys is
#: silent, in seconds. Revocations that the process has heard of take effect all the same.
KEPT_S: Final = 600.0
#: How precisely a key's last use is known, in seconds.
USE_PERIOD_S: Final = 60.0
_MAX_REMEMBERED: Final = 10_000  # keys that one process remembers

_NO_DIGEST: Final = "0" * 64
_ID: Final = re.compile(r"[0-9a-f]{16}\Z", re.ASCII)
_KEY: Final = re.compile(r"whk_([0-9a-f]{16})_([0-9A-Za-z]{43})\Z", re.ASCII)


class _Remembered(NamedTuple, Generic[T]):
    """A key as it was read (None if there was none, or if it could not be verified), or the origins of all keys."""

    value: T
    read_at_s: float  # monotonic, like the other time
    asked_at_s: float  # when the server was last asked for it: it may have been silent


class ApiKeys:
    """All API keys in the store. Methods raise ``Unavailable`` when the store cannot be reached.

    A record that does not match the last decision about its key counts as missing, and is logged.
    """

    def __init__(
        self, client: Redis, vault: Vault, keys: Keyspace = SINGLE, decisions: Decisions | None = None
    ) -> None:
        self._keys = keys
        self._client: Any = client  # replies are bytes; redis-py types them as bytes or str
        self._scripts = Scripts(client)
        self._decisions = decisions or Decisions(client, vault, SHARED_ROOT)
        self._has_other_servers = isinstance(self._client, RedisCluster)  # whose calls can continue
        self._remembered: dict[str, _Remembered[ApiKey | None]] = {}
        #: Those that were accepted, oldest first.
        self._verified_keys: OrderedDict[str, _Remembered[ApiKey | None]] = OrderedDict()
        self._used_at_s: dict[str, float] = {}
        self._origins: _Remembered[frozenset[str]] | None = None

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
        now_ms = time_ms_at(self._client, SHARED_ROOT)
        root = self._keys.root(plugin)
        self._scripts.write(root, "SADD", key_in(root, "plugins"), plugin)
        expires_at_ms = None if lifetime_s is None else now_ms + int(lifetime_s * 1000)
        text, key = new_key(plugin, frozenset(scopes), frozenset(origins), name, now_ms, expires_at_ms)
        entry = _entry(now_ms, Act.KEY_CREATE, key, "created")
        next(end for end in self._decisions.ends() if self._write_new(end, key, entry))
        return text, key

    def rotate(self, key_id: str, overlap_s: float) -> tuple[str, ApiKey, ApiKey]:
        """Make a new key like this one, and let this one end after ``overlap_s``.

        Returns the new key's text, the new key, and the old one. The new key has the lifetime that the old one was
        made with, even if the old one was rotated before.

        Raises:
            NotFound: there is no such key, or it is revoked or expired.
            Unavailable: if the new key may exist all the same, the message says so.
        """
        now_ms = time_ms_at(self._client, SHARED_ROOT)
        ending = old = self._live(key_id, now_ms)
        end_ms = now_ms + int(overlap_s * 1000)
        expires_at_ms = None if old.lifetime_ms is None else now_ms + old.lifetime_ms
        text, new = new_key(old.plugin, old.scopes, old.origins, old.name, now_ms, expires_at_ms)
        for end in self._decisions.ends():
            if self._decisions.value(key_subject(new.id)):
                break  # it was written by a run whose reply was lost
            old = self._live(key_id, now_ms)
            ends_at_ms = min(end_ms, old.expires_at_ms or end_ms)
            ending = replace(old, expires_at_ms=ends_at_ms, rotated_lifetime_ms=old.lifetime_ms or 0)
            entry = _entry(now_ms, Act.KEY_ROTATE, old, "rotated", new.id)
            if self._write_new(end, new, entry, old, ending):
                break
        return text, new, ending

    def _live(self, key_id: str, now_ms: int) -> ApiKey:
        """Return a key that has not ended. Raises `NotFound`."""
        key = self._verified(key_id)
        if key is None or key.revoked or is_expired(key, now_ms):
            raise NotFound("There is no such key, or it has ended.")
        return key

    def list(self, plugin: str | None = None) -> list[ApiKey]:
        """List the verified keys of a plugin, or of all plugins, including revoked and expired ones, oldest first."""
        found = [key for key in self._every().values() if key and plugin in (None, key.plugin)]
        return sorted(found, key=lambda key: (key.created_at_ms, key.id))

    def unverified(self) -> tuple[str, ...]:
        """Return the ids of records that fail verification, and ``decisions`` if the chain was tampered with."""
        ids = tuple(sorted(key_id for key_id, key in self._every().items() if key is None))
        return ids if self._decisions.is_intact else (*ids, "decisions")

    def revoke(self, key_id: str) -> ApiKey | None:
        """Revoke a key for good; every process refuses it within ``KEY_AGE_S``. Raises ``NotFound``.

        A record that fails verification is deleted; then None is returned.
        """
        if self._verified(key_id) is None and key_id in self.unverified():
            self._delete(key_id)
            return None
        now_ms = time_ms_at(self._client, SHARED_ROOT)
        for end in self._decisions.ends():
            key = self._verified(key_id)
            if key is None:
                raise NotFound("There is no such key.")
            revoked = replace(key, revoked=True)
            # An earlier reply of this call may have been lost: a key already revoked is confirmed without a new entry.
            entry = None if key.revoked else _entry(now_ms, Act.KEY_REVOKE, key, "revoked")
            if self._write(end, revoked, entry=entry):
                break
        return revoked

    def _delete(self, key_id: str) -> None:
        """Delete the record of a key; nothing in it can be relied on, not even its plugin."""
        subject = quote(key_id, safe="")  # somebody else may have chosen it
        now_ms = time_ms_at(self._client, SHARED_ROOT)
        entry = AuditEntry(now_ms, Act.KEY_REVOKE, actor(), "", subject, outcome="revoked")
        next(end for end in self._decisions.ends() if self._write(end, entry=entry, deleted=(key_id,)))

    def authenticate(self, key_text: str) -> ApiKey:
        """Return the key that has this text.

        Raises ``Unauthenticated``, the same for every fault, except that whoever has a whole expired key is told so.
        """
        found = _KEY.match(key_text)
        if found is None:
            raise Unauthenticated
        key_id, secret = found.groups()
        read = self._read(key_id)
        key = read.value
        # Compare even if there is no such key, so that the time taken reveals nothing.
        matches = hmac.compare_digest(digest_of(secret), key.digest if key else _NO_DIGEST)
        if key is None or not matches or key.revoked:
            raise Unauthenticated
        if is_expired(key, time.time() * 1000):
            raise Unauthenticated("This key has expired: create another with `relay keys create`.")
        if self._has_other_servers:
            self._verified_keys[key_id] = read
            self._verified_keys.move_to_end(key_id)
            if len(self._verified_keys) > _MAX_REMEMBERED:
                self._verified_keys.popitem(last=False)
        self._note_use(key_id)
        return key

    def origins(self) -> frozenset[str]:
        """Return every origin that any valid key allows, at most `KEY_AGE_S` old; `KEPT_S` while the store is away."""
        now_s, known = time.monotonic(), self._origins
        if known is None or now_s - known.asked_at_s >= KEY_AGE_S:
            with going_on_without():
                self._origins = known = _read_or_kept(self._read_origins, known, now_s)
        return known.value

    def _read_origins(self) -> frozenset[str]:
        now_ms = time.time() * 1000
        valid = [key for key in self.list() if not key.revoked and not is_expired(key, now_ms)]
        return frozenset(origin for key in valid for origin in key.origins)

    def _every(self) -> dict[str, ApiKey | None]:
        with store_errors():
            members = self._client.smembers(keyspace.shared("api_keys"))
        ids = [key_id.decode("utf-8", "backslashreplace") for key_id in members]
        names = [*(keyspace.shared("api_key", key=key_id) for key_id in ids), keyspace.shared("api_key_uses")]
        *rows, used = replies_to(self._client, [("HGETALL", name) for name in names])
        uses = StoredFields(names[-1], used)
        self._decisions.refresh()
        found: dict[str, ApiKey | None] = {}
        for key_id, row in zip(ids, rows, strict=True):
            if row:
                key = self._decided(key_id, row) or self._verified(key_id)
                found[key_id] = key and replace(key, last_used_at_ms=uses.number(key_id) or None)
        return found

    def _verified(self, key_id: str) -> ApiKey | None:
        """Read and verify a key now; None if it is missing, or if its record is not as last decided (then logged)."""
        if not _ID.match(key_id):
            return None
        self._decisions.refresh(AGE_S)
        for _ in range(READS):
            (row,) = replies_to(self._client, [("HGETALL", keyspace.shared("api_key", key=key_id))])
            key = self._decided(key_id, row)
            if key is not None or not row:
                return key
            self._decisions.refresh()  # the key may have changed since the chain or the record was read
        event(Event.KEY_UNVERIFIED, level=logging.ERROR, key=key_id)
        return None

    def _decided(self, key_id: str, row: Mapping[bytes, bytes] | Exception) -> ApiKey | None:
        """Return a key from its record; None if that does not match the last decision."""
        fields = {} if isinstance(row, Exception) else row
        return from_fields(key_id, fields, self._decisions.value(key_subject(key_id)))

    def _read(self, key_id: str) -> _Remembered[ApiKey | None]:
        """Return a key that the server was asked for at most ``KEY_AGE_S`` ago.

        Missing keys are remembered too, so that they take as long. If the server is silent, and others are not, a key
        that was read in the last ``KEPT_S`` is still accepted, unless this process has heard that it is revoked.
        """
        now_s = time.monotonic()  # taken before the read, so that a remembered key is never older than it claims
        remembered = self._remembered.get(key_id)
        if remembered is not None and now_s - remembered.asked_at_s < KEY_AGE_S:
            return remembered
        kept = self._verified_keys.get(key_id)
        is_kept = kept is not None and now_s - kept.read_at_s < KEPT_S
        with going_on_without() if is_kept else nullcontext():
            read = _read_or_kept(partial(self._verified, key_id), kept, now_s)
        if read.read_at_s < now_s and is_ended(self._decisions.value(key_subject(key_id))):
            raise Unauthenticated
        if len(self._remembered) >= _MAX_REMEMBERED:
            self._remembered.clear()  # entries last for a second: evicting them in order is not worth it
        self._remembered[key_id] = read
        return read

    def _write_new(self, end: ChainEnd, new: ApiKey, entry: AuditEntry, *changed: ApiKey) -> bool:
        """Write a new key; if the server refuses it, leave nothing of it behind, because its text is lost then.

        ``changed`` is another key to write with it, before and after the change. Returns what `_write` returns.
        """
        lost = (
            f"It is not known whether key {new.id} was made. Its secret is lost: if `relay keys list` shows it,"
            f" revoke it (`relay keys revoke {new.id}`) and create another one."
        )
        if changed:
            lost += f" Key {changed[0].id} may have been given an end."
        try:
            return self._write(end, new, *changed[1:], entry=entry)
        except RelayError as error:
            if is_answer(error):
                with adding_sentence(lost, RelayError):
                    self._take_back(new, *changed)
            else:
                error.add(lost)
            raise

    def _take_back(self, new: ApiKey, *changed: ApiKey) -> None:
        """Undo a write that the server refused but may have done in part."""
        for end in self._decisions.ends():
            restored = [
                before
                for before, after in zip(changed[::2], changed[1::2], strict=True)
                if self._decisions.value(key_subject(after.id)) == decided_of(after.id, to_fields(after))
            ]
            if self._write(end, *restored, deleted=(new.id,)):
                return

    def _write(
        self, end: ChainEnd, *keys: ApiKey, entry: AuditEntry | None = None, deleted: Collection[str] = ()
    ) -> bool:
        """Write and delete keys in one step, with what is decided about them and the audit entry.

        Returns whether it was done: it is not if something else was decided meanwhile.
        """
        args: list[Any] = ["" if entry is None else entry.text(), len(keys) + len(deleted)]
        decided = {key_subject(key_id): GONE for key_id in deleted if _ID.match(key_id)}
        for key in keys:
            fields = to_fields(key)
            args += [key.id, len(fields), *chain.from_iterable(fields.items())]
            decided[key_subject(key.id)] = decided_of(key.id, fields)
        for key_id in deleted:
            args += [key_id, 0]
        is_done: bool = self._scripts.run("write_keys", [*args, *end.adding(decided)]) != STALE
        with suppress(Unavailable):  # it is done; what cannot be read now is read within `AGE_S`
            self._decisions.refresh()
        for key in keys:  # each is read again before it is accepted
            self._remembered.pop(key.id, None)
            self._verified_keys.pop(key.id, None)
        return is_done

    def _note_use(self, key_id: str) -> None:
        """Record that a key was used, once a minute; do nothing if the server takes no writes now."""
        now_s = time.monotonic()
        if now_s - self._used_at_s.get(key_id, -USE_PERIOD_S) < USE_PERIOD_S:
            return
        if len(self._used_at_s) >= _MAX_REMEMBERED:
            self._used_at_s.clear()
        self._used_at_s[key_id] = now_s
        with suppress(Unavailable), going_on_without(), store_errors():
            self._client.hset(keyspace.shared("api_key_uses"), key_id, time_ms_at(self._client, SHARED_ROOT))


def _read_or_kept(read: Callable[[], T], kept: _Remembered[T] | None, now_s: float) -> _Remembered[T]:
    """Read now; if the store is away, return what was read in the last ``KEPT_S``, if anything was."""
    try:
        return _Remembered(read(), now_s, now_s)
    except Unavailable:
        if kept is None or now_s - kept.read_at_s >= KEPT_S:
            raise
        return kept._replace(asked_at_s=now_s)


def _entry(now_ms: int, act: Act, key: ApiKey, outcome: str, *references: str) -> AuditEntry:
    return AuditEntry(now_ms, act, actor(), key.plugin, key.id, outcome=outcome, references=references)
