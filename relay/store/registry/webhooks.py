"""The registry: webhooks, their immutable revisions, and which of them is current.

The API process has no target keys, and reads only shapes; ``apply`` and ``open_target`` need target keys. Revisions
never change, so they are cached for good; the number of the current one is cached for a second, but never that a
webhook is unknown. A current revision counts only if it matches the last decision (`relay.store.decisions`): somebody
who can write to the server can neither revive a removed webhook, nor make an old revision current, nor loosen a shape.
"""

from __future__ import annotations

import logging
import secrets
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from relay.audit.actor import actor
from relay.audit.entry import Act
from relay.errors import (
    Conflict,
    DocumentError,
    Fault,
    NotFound,
    SettingsError,
    StoreFault,
    Unavailable,
    VaultError,
)
from relay.registration import ChainTarget, Shape, Target, target_from_json
from relay.registration.stored_secrets import filled, referred
from relay.store.decisions.chain import GONE, pause_subject, webhook_subject, webhook_value
from relay.store.decisions.decisions import AGE_S, READS, STALE
from relay.store.decisions.every import EveryDecision
from relay.store.keys.keyspace import SINGLE, Keyspace
from relay.store.partitions.plugins import plugins_in, plugins_of
from relay.store.registry.revisions import Applied, PlannedRevision, StoredRevision, limits_of
from relay.store.registry.secrets import Secrets
from relay.store.registry.uses import Uses, named_users
from relay.store.scripting.scripts import Scripts
from relay.store.server.errors import adding_sentence, store_errors
from relay.store.server.fields import StoredFields, number_of, one_value
from relay.store.server.replies import replies_to
from relay.telemetry.log import Event, event
from relay.vault import target_owner

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from redis import Redis

    from relay.registration.building import Registration
    from relay.store.decisions.chain import ChainEnd
    from relay.vault import Vault

#: How long the number of a webhook's current revision is cached, in seconds. The accept script compares it again, so
#: that a trigger for an old revision is answered ``stale`` and checked again.
POINTER_AGE_S: Final = AGE_S
MAX_POINTERS: Final = 10_000  # remembered by one process
MAX_REVISIONS: Final = 4_096  # shapes, and as many targets, remembered by one process
MAX_WEBHOOKS: Final = 10_000  # per plugin
_STAMP_BYTES: Final = 8


class Registry:
    """Webhooks of all plugins in the store. Methods raise ``Unavailable`` when the store cannot be reached.

    ``vault`` authenticates decisions; ``target_vault`` opens targets, in processes that have its keys.
    """

    def __init__(
        self,
        client: Redis,
        vault: Vault,
        target_vault: Vault | None = None,
        keys: Keyspace = SINGLE,
        decisions: EveryDecision | None = None,
    ) -> None:
        self._keys = keys
        self._client: Any = client  # replies are bytes; redis-py types them as bytes or str
        self._scripts = Scripts(client)
        self._decisions = decisions or EveryDecision(client, vault, keys)
        self._target_vault = target_vault
        self._uses = Uses(client, self, keys)
        self.secrets = Secrets(client, target_vault, keys, self._decisions, self._uses)
        self._pointers: dict[tuple[str, str], tuple[int, float]] = {}
        self._revision = lru_cache(MAX_REVISIONS)(self._read_revision)
        self._target = lru_cache(MAX_REVISIONS)(self._open_target)

    def apply(
        self,
        plugin: str,
        registrations: Sequence[Registration],
        *,
        dry_run: bool = False,
        act: Act = Act.WEBHOOK_APPLY,
        based_on: Mapping[str, int] | None = None,
    ) -> list[Applied]:
        """Make all of the registrations current, or none; return what each changes. ``dry_run`` changes nothing.

        A registration that is identical to the current revision makes no new one. ``based_on`` has, by webhook, the
        revisions that the registrations were made from; 0 if there was none.

        Raises:
            DocumentError: the plugin would have more than ``MAX_WEBHOOKS``, or a webhook would not match its steps or
                callback, or a secret that it refers to is missing or not allowed there.
            Conflict: others keep registering the same webhooks, or have registered or removed one since it was read.
            SettingsError: this process has no target keys.
        """
        if not registrations:
            return []
        bases = based_on or {}
        for end in self._decisions.of(plugin).ends():
            self._uses.check(plugin, registrations)
            planned = self._plan(plugin, registrations)
            for each in planned:
                self._check_base(plugin, each.applied, bases.get(each.applied.webhook_id))
            if dry_run or self._commit(plugin, planned, end, act):
                break
        return [each.applied for each in planned]

    def current(self, plugin: str, webhook_id: str, *, refresh: bool = False) -> tuple[int, Shape] | None:
        """Return the current revision's number and shape; None if the webhook is not registered.

        The answer is up to a second old unless ``refresh``.
        """
        name = (plugin, webhook_id)
        number, read_at_s = self._pointers.get(name, (0, 0.0))
        if refresh or not number or time.monotonic() - read_at_s >= POINTER_AGE_S:
            number = self._read_pointer(name, 0.0 if refresh else AGE_S)
        return (number, self._revision(plugin, webhook_id, number).shape) if number else None

    def plugins(self) -> list[str]:
        """Return every plugin of the partitions that answer."""
        return plugins_of(self._client, self._keys)

    def plugins_in(self, partition: int) -> list[str]:
        """Return the plugins of a partition."""
        return plugins_in(self._client, partition)

    def partition_of(self, plugin: str) -> int:
        """Return the partition of a plugin."""
        return self._keys.partition_of(plugin)

    def has_plugin(self, plugin: str) -> bool:
        """Return whether a plugin exists; only its own partition is asked."""
        partition = self.partition_of(plugin)
        with adding_sentence(f"Partition {partition} does not answer.", Unavailable):
            return plugin in self.plugins_in(partition)

    def shapes(self, plugin: str) -> list[StoredRevision]:
        """Return the current revisions of a plugin's webhooks, in the order of their ids, including hidden ones."""
        key = self._keys.of_plugin("webhooks", plugin)
        (pointers,) = replies_to(self._client, [("HGETALL", key)])
        numbers = sorted(StoredFields(key, pointers).numbers().items())
        keys = [self._key("revision", plugin, webhook, number) for webhook, number in numbers]
        rows = replies_to(self._client, [("HGETALL", key) for key in keys])
        self._decisions.of(plugin).refresh()
        return [
            stored
            for (webhook, number), key, row in zip(numbers, keys, rows, strict=True)
            if (stored := _revision_from(number, key, row)) is not None
            and (self._is_decided(plugin, webhook, stored) or self._read_pointer((plugin, webhook)) == number)
        ]

    def unverified(self, plugin: str) -> list[str]:
        """Return webhooks whose current revision fails verification; they count as not registered."""
        (ids,) = replies_to(self._client, [("HKEYS", self._keys.of_plugin("webhooks", plugin))])
        ids = () if isinstance(ids, Exception) else ids
        names = sorted(name.decode("utf-8", "backslashreplace") for name in ids)
        known = {stored.shape.webhook_id for stored in self.shapes(plugin)}
        return [name for name in names if name not in known]

    def revision(self, plugin: str, webhook_id: str, number: int) -> StoredRevision:
        """Read a revision, even of a webhook that was changed or removed since. Raises ``NotFound``."""
        return self._revision(plugin, webhook_id, number)

    def open_target(self, plugin: str, webhook_id: str, number: int) -> Target | ChainTarget:
        """Open a revision's target. Raises ``NotFound``, ``VaultError``, and ``SettingsError`` without target keys."""
        return self._target(plugin, webhook_id, number)

    def fill(self, plugin: str, target: Target, *, fresh: bool = False) -> Target:
        """Return a target with the values of its secrets filled in, at most a second old; with ``fresh``, read now.

        Raises:
            NotFound: one of them is not set.
            VaultError: one does not open with this process's keys.
            DocumentError: a value is not allowed where the target uses it.
        """
        names = referred(target)
        if not names:
            return target
        values = self.secrets.values(plugin, names, fresh=fresh)
        return filled(target, {name: each.value for name, each in zip(names, values, strict=True)})

    def is_changed(self, plugin: str, webhook_id: str, number: int) -> bool:
        """Return whether the store now has a different revision under this number; if it has, forget the old one.

        A server that lost its data, or was set back, reuses numbers.
        """
        known = self._revision(plugin, webhook_id, number)
        is_changed = self._read_revision(plugin, webhook_id, number).stamp != known.stamp
        if is_changed:
            self._revision.cache_clear()
            self._target.cache_clear()
        return is_changed

    def last_revision(self, plugin: str, webhook_id: str) -> int:
        """Return the highest revision that a webhook ever had, even if it has been removed; 0 if it never existed."""
        self._decisions.of(plugin).refresh(AGE_S)
        key = self._keys.of_plugin("last_revision", plugin, webhook=webhook_id)
        (last,) = replies_to(self._client, [("GET", key)])
        return max(one_value(key, last, number_of) or 0, self._decided_number(plugin, webhook_id))

    def remove(self, plugin: str, webhook_id: str) -> bool:
        """Remove a registration; return False if there was none. Its revisions stay; their numbers are never reused.

        Raises:
            Conflict: the webhook is a step of a chain, or the callback of another webhook; the message names these.
        """
        self._pointers.pop((plugin, webhook_id), None)
        # The script's reply does not say whether it removed one: repeated after a lost reply it would say no.
        with store_errors():
            is_registered = bool(self._client.hexists(self._keys.of_plugin("webhooks", plugin), webhook_id))
        ends = self._decisions.of(plugin).ends()
        users = next(users for end in ends if (users := self._removed(end, plugin, webhook_id)) != STALE)
        if users:
            raise Conflict(f"The webhook is used by {named_users(users)}: change or remove that first.")
        return is_registered

    def _removed(self, end: ChainEnd, plugin: str, webhook_id: str) -> Any:
        number = self._decided_number(plugin, webhook_id)
        changes = {webhook_subject(plugin, webhook_id): f"{number}.{GONE}"} if number else {}
        if (plugin, webhook_id) in self._decisions.of(plugin).paused:
            changes[pause_subject(plugin, webhook_id)] = GONE
        args = [plugin, webhook_id, actor(), *end.adding(changes)]
        return self._scripts.run("remove_webhook", args, self._keys.root(plugin))

    def _check_base(self, plugin: str, applied: Applied, base: int | None) -> None:
        """Raise `Conflict` if a revision would replace a different one than it was made from."""
        if base is None or applied.change == "unchanged":
            return  # the latter also if this call wrote it before, and the reply was lost
        current = self.current(plugin, applied.webhook_id, refresh=True)
        if (current[0] if current else 0) != base:
            now = f"revision {current[0]} is current" if current else "it is not registered any more"
            raise Conflict(f"Somebody else has changed webhook `{applied.webhook_id}` meanwhile: {now}. Try again.")

    def _plan(self, plugin: str, registrations: Sequence[Registration]) -> list[PlannedRevision]:
        ids = [registration.shape.webhook_id for registration in registrations]
        with store_errors():
            currents = self._client.hmget(self._keys.of_plugin("webhooks", plugin), ids)
            count = self._client.hlen(self._keys.of_plugin("webhooks", plugin))
        if count + currents.count(None) > MAX_WEBHOOKS:
            raise DocumentError(faults=(Fault("", f"a plugin has at most {MAX_WEBHOOKS} webhooks"),))
        return [
            self._plan_one(plugin, registration, current or b"")
            for registration, current in zip(registrations, currents, strict=True)
        ]

    def _plan_one(self, plugin: str, registration: Registration, current: bytes) -> PlannedRevision:
        webhook, shape = registration.shape.webhook_id, registration.shape.to_json()
        target = registration.target.to_json()
        number = StoredFields(self._keys.of_plugin("webhooks", plugin), {webhook.encode(): current}).number(webhook)
        if number and self._is_same(plugin, webhook, number, shape, target):
            return PlannedRevision(Applied(webhook, number, "unchanged"), (webhook, current, *[""] * 8))
        number = self.last_revision(plugin, webhook) + 1
        applied, stamp = Applied(webhook, number, "changed" if current else "created"), secrets.token_hex(_STAMP_BYTES)
        sealed = self._targets().seal(target, target_owner(plugin, webhook, number, stamp, shape))
        limits = limits_of(registration.shape)
        arguments = (webhook, current, str(number), shape, sealed, stamp, *limits)
        return PlannedRevision(applied, arguments, webhook_value(number, stamp, shape, limits))

    def _is_same(self, plugin: str, webhook_id: str, number: int, shape: bytes, target: bytes) -> bool:
        """Return whether the current revision is identical and matches the decision.

        A revision that cannot be opened is not identical: registering again repairs it.
        """
        try:
            stored = self._read_revision(plugin, webhook_id, number)
            if stored.shape_json != shape or not self._is_decided(plugin, webhook_id, stored):
                return False
            owner = target_owner(plugin, webhook_id, number, stored.stamp, shape)
            with store_errors():
                sealed = self._client.get(self._key("target", plugin, webhook_id, number)) or b""
            return self._targets().open(sealed, owner) == target
        except (NotFound, StoreFault, VaultError):
            return False

    def _commit(
        self, plugin: str, planned: Sequence[PlannedRevision], end: ChainEnd, act: Act = Act.WEBHOOK_APPLY
    ) -> bool:
        arguments: list[Any] = [plugin, len(planned), actor(), act]
        for each in planned:
            arguments += each.arguments
            self._pointers.pop((plugin, each.applied.webhook_id), None)
        changes = {webhook_subject(plugin, each.applied.webhook_id): each.decided for each in planned if each.decided}
        arguments += end.adding(changes)
        return bool(self._scripts.run("apply_webhooks", arguments, self._keys.root(plugin)) == b"applied")

    def _read_pointer(self, name: tuple[str, str], max_age_s: float = AGE_S) -> int:
        """Read the current revision's number; 0 if the webhook is not registered, or no decision made it current."""
        self._decisions.of(name[0]).refresh(max_age_s)
        key = self._keys.of_plugin("webhooks", name[0])
        for _ in range(READS):
            read_at_s = time.monotonic()
            with store_errors():
                pointer = self._client.hget(key, name[1])
            if not pointer:
                break
            number = StoredFields(key, {name[1].encode(): pointer}).number(name[1])
            if number and self._is_current(*name, number):
                if len(self._pointers) >= MAX_POINTERS:
                    self._pointers.clear()  # entries last for a second: evicting them in order is not worth it
                self._pointers[name] = (number, read_at_s)
                return number
            self._decisions.of(name[0]).refresh()  # another revision may have become current since it was read
        if pointer:
            event(Event.REVISION_UNVERIFIED, level=logging.ERROR, plugin=name[0], webhook=name[1])
        self._pointers.pop(name, None)
        return 0

    def _is_current(self, plugin: str, webhook_id: str, number: int) -> bool:
        try:
            if self._is_decided(plugin, webhook_id, self._revision(plugin, webhook_id, number)):
                return True
            is_changed = self.is_changed(plugin, webhook_id, number)
            return is_changed and self._is_decided(plugin, webhook_id, self._revision(plugin, webhook_id, number))
        except NotFound:
            return False

    def _is_decided(self, plugin: str, webhook_id: str, stored: StoredRevision) -> bool:
        """Return whether the last decision made this revision the current one, as far as this process knows."""
        decided = self._decisions.of(plugin).value(webhook_subject(plugin, webhook_id))
        return decided == webhook_value(stored.number, stored.stamp, stored.shape_json, limits_of(stored.shape))

    def _decided_number(self, plugin: str, webhook_id: str) -> int:
        """Return the number in the last decision, even if the webhook has been removed; 0 if it never existed."""
        return int(self._decisions.of(plugin).value(webhook_subject(plugin, webhook_id)).partition(".")[0] or 0)

    def _key(self, kind: str, plugin: str, webhook_id: str, number: int) -> str:
        return self._keys.of_plugin(kind, plugin, webhook=webhook_id, revision=number)

    def _read_revision(self, plugin: str, webhook_id: str, number: int) -> StoredRevision:
        key = self._key("revision", plugin, webhook_id, number)
        (row,) = replies_to(self._client, [("HGETALL", key)])
        stored = _revision_from(number, key, row)
        if stored is None:
            raise NotFound("There is no such revision, or it is damaged.")
        return stored

    def _open_target(self, plugin: str, webhook_id: str, number: int) -> Target | ChainTarget:
        stored = self.revision(plugin, webhook_id, number)
        owner = target_owner(plugin, webhook_id, number, stored.stamp, stored.shape_json)
        with store_errors():
            sealed = self._client.get(self._key("target", plugin, webhook_id, number)) or b""
        return target_from_json(self._targets().open(sealed, owner))

    def _targets(self) -> Vault:
        if self._target_vault is None:
            raise SettingsError("RELAY_TARGET_KEYS is not set: targets can be neither sealed nor opened without it.")
        return self._target_vault


def _revision_from(number: int, key: str, row: Any) -> StoredRevision | None:
    revision = StoredFields(key, row)
    shape = revision.get("shape", lambda text: Shape.from_json(text.encode()))
    if shape is None:
        return None
    created_at_ms = revision.needed("createdAt", number_of) or 0
    by, stamp = revision.text("by") or "", revision.text("stamp") or ""
    return StoredRevision(number, shape, row[b"shape"], created_at_ms, by, stamp)
