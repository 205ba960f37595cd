"""The registry: webhooks, their immutable revisions and which one is current.

The API process has no target keys, and reads shapes only; ``apply`` and ``open_target`` need target keys. Revisions
never change, so they are cached for good; which one is current is cached for a second, and that a webhook is unknown
never is.
"""

from __future__ import annotations

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
from relay.store.keys.keyspace import SINGLE, Keyspace
from relay.store.partitions.plugins import plugins_in, plugins_of
from relay.store.registry.pointers import is_authentic, is_made_by_relay, pointer_mac
from relay.store.registry.revisions import Applied, PlannedRevision, Registered, StoredRevision
from relay.store.registry.secrets import Secrets
from relay.store.registry.uses import Uses, named_users
from relay.store.scripting.scripts import Scripts
from relay.store.server.errors import adding_sentence, store_errors
from relay.store.server.fields import StoredFields, number_of
from relay.store.server.replies import replies_to
from relay.vault import target_owner

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis import Redis

    from relay.registration.building import Registration
    from relay.store.registry.uses import ReadSet
    from relay.vault import Vault

#: How long, in seconds, the number of a webhook's current revision is cached. The accept script compares it again, so
#: that a trigger for an old revision is answered ``stale`` and checked anew.
POINTER_AGE_S: Final = 1.0
MAX_POINTERS: Final = 10_000  # remembered by one process
MAX_REVISIONS: Final = 4_096  # shapes, and as many targets, remembered by one process
MAX_WEBHOOKS: Final = 10_000  # per plugin
_APPLY_TRIES: Final = 5  # tries when others register the same webhooks at the same time


class Registry:
    """Webhooks of all plugins in the store. Methods raise ``Unavailable`` when the store cannot be reached.

    ``vault`` authenticates which revision is current; ``target_vault`` opens targets, in processes that have its keys.
    """

    def __init__(self, client: Redis, vault: Vault, target_vault: Vault | None = None, keys: Keyspace = SINGLE) -> None:
        self._keys = keys
        self._client: Any = client  # replies are bytes; redis-py types them as bytes or str
        self._scripts = Scripts(client)
        self._vault = vault
        self._target_vault = target_vault
        self.secrets = Secrets(client, target_vault, keys)
        self._uses = Uses(client, self, keys)
        self._pointers: dict[tuple[str, str], tuple[int, float]] = {}
        self._shape = lru_cache(MAX_REVISIONS)(self._read_shape)
        self._revision = lru_cache(MAX_REVISIONS)(self._read_revision)
        self._target = lru_cache(MAX_REVISIONS)(self._open_target)

    def apply(
        self,
        plugin: str,
        registrations: Sequence[Registration],
        *,
        dry_run: bool = False,
        act: Act = Act.WEBHOOK_APPLY,
    ) -> list[Applied]:
        """Make all of the registrations current, or none; return what each changes. ``dry_run`` changes nothing.

        A registration that is identical to the current revision makes no new one.

        Raises:
            DocumentError: the plugin would have more than ``MAX_WEBHOOKS``, or a webhook would not match its steps or
                callback, or a secret to which it refers is missing or does not fit.
            Conflict: others keep registering the same webhooks.
            SettingsError: this process has no target keys.
        """
        if not registrations:
            return []
        for _ in range(_APPLY_TRIES):
            seen = self._uses.check(plugin, registrations)
            planned = self._plan(plugin, registrations)
            if dry_run or self._commit(plugin, planned, seen, act):
                return [each.applied for each in planned]
        raise Conflict("Somebody else is registering the same webhooks: look at them, and apply the document again.")

    def current(self, plugin: str, webhook_id: str, *, refresh: bool = False) -> tuple[int, Shape] | None:
        """Return the current revision's number and shape; None if the webhook is not registered.

        The answer is up to a second old unless ``refresh``.
        """
        name = (plugin, webhook_id)
        number, read_at_s = self._pointers.get(name, (0, 0.0))
        if refresh or not number or time.monotonic() - read_at_s >= POINTER_AGE_S:
            number = self._read_pointer(name)
        return (number, self._shape(plugin, webhook_id, number)[0]) if number else None

    def plugins(self) -> list[str]:
        """Return every plugin that exists, as far as its partition answers."""
        return plugins_of(self._client, self._keys)

    def plugins_in(self, partition: int) -> list[str]:
        """Return the plugins of a partition."""
        return plugins_in(self._client, self._keys, partition)

    def partition_of(self, plugin: str) -> int:
        """Return the partition of a plugin."""
        return self._keys.partition_of(plugin)

    def has_plugin(self, plugin: str) -> bool:
        """Return whether a plugin exists; only its own partition is asked."""
        partition = self.partition_of(plugin)
        with adding_sentence(f"Partition {partition} does not answer.", Unavailable):
            return plugin in self.plugins_in(partition)

    def shapes(self, plugin: str) -> list[Registered]:
        """Return a plugin's webhooks in the order of their ids, including hidden ones."""
        names = self._keys.webhooks(plugin), self._keys.pointer_macs(plugin)
        pointers, macs = replies_to(self._client, [("HGETALL", name) for name in names])
        macs = {} if isinstance(macs, Exception) else macs
        numbers = sorted(StoredFields(names[0], pointers).numbers().items())
        keys = [self._keys.revision(plugin, webhook, number) for webhook, number in numbers]
        revisions = zip(numbers, keys, replies_to(self._client, [("HGETALL", key) for key in keys]), strict=True)
        found = []
        for (webhook, number), key, fields in revisions:
            shape = b"" if isinstance(fields, Exception) else fields.get(b"shape", b"")
            if is_authentic(self._vault, plugin, webhook, number, shape, macs.get(webhook.encode())):
                created_at_ms = StoredFields(key, fields).needed("createdAt", number_of) or 0
                found.append(Registered(webhook, number, Shape.from_json(shape), created_at_ms))
        return found

    def reseal(self) -> int:
        """Rewrite the MAC of every current revision with the newest key of the ring; return how many."""
        written = 0
        for plugin in self.plugins():
            for each in self.shapes(plugin):
                _, shape = self._shape(plugin, each.webhook_id, each.revision)
                mac = pointer_mac(self._vault, plugin, each.webhook_id, each.revision, shape)
                args = [plugin, each.webhook_id, str(each.revision), mac]
                written += bool(self._scripts.run("remac", args, self._keys.root(plugin)))
        return written

    def unverified(self, plugin: str) -> list[str]:
        """Return webhooks whose current revision fails verification; they count as not registered."""
        (ids,) = replies_to(self._client, [("HKEYS", self._keys.webhooks(plugin))])
        ids = () if isinstance(ids, Exception) else ids
        names = sorted(name.decode("utf-8", "backslashreplace") for name in ids)
        known = {registered.webhook_id for registered in self.shapes(plugin)}
        return [name for name in names if name not in known]

    def revision(self, plugin: str, webhook_id: str, number: int) -> StoredRevision:
        """Read a revision, even of a webhook that was changed or removed since. Raises ``NotFound``."""
        return self._revision(plugin, webhook_id, number)

    def open_target(self, plugin: str, webhook_id: str, number: int) -> Target | ChainTarget:
        """Open a revision's target. Raises ``NotFound``, ``VaultError``, and ``SettingsError`` without target keys."""
        return self._target(plugin, webhook_id, number)

    def fill(self, plugin: str, target: Target) -> Target:
        """Return a target with the present values of the secrets to which it refers.

        Raises:
            NotFound: one of them is not set.
            VaultError: one does not open with this process's keys.
            DocumentError: a value does not fit where it stands.
        """
        names = referred(target)
        if not names:
            return target
        values = self.secrets.values(plugin, names)
        return filled(target, {name: each.value for name, each in zip(names, values, strict=True)})

    def last_revision(self, plugin: str, webhook_id: str) -> int:
        """Return the highest revision that a webhook ever had, even if it was removed since; 0 if it never existed."""
        with store_errors():
            return int(self._client.get(self._keys.last_revision(plugin, webhook_id)) or 0)

    def remove(self, plugin: str, webhook_id: str) -> bool:
        """Remove a registration; return False if there was none. Its revisions stay; their numbers are never reused.

        Raises:
            Conflict: the webhook is a step of a chain, or the callback of another webhook; the message names these.
        """
        self._pointers.pop((plugin, webhook_id), None)
        # The script's reply does not say whether it removed one: repeated after a lost reply it would say no.
        with store_errors():
            is_registered = bool(self._client.hexists(self._keys.webhooks(plugin), webhook_id))
        users = self._scripts.run("remove_webhook", [plugin, webhook_id, actor()], self._keys.root(plugin))
        if users:
            raise Conflict(f"The webhook is used by {named_users(users)}: change or remove that first.")
        return is_registered

    def _plan(self, plugin: str, registrations: Sequence[Registration]) -> list[PlannedRevision]:
        ids = [registration.shape.webhook_id for registration in registrations]
        with store_errors():
            pipeline = self._client.pipeline(transaction=True)  # all reads see the same moment
            pipeline.hmget(self._keys.webhooks(plugin), ids)
            pipeline.hlen(self._keys.webhooks(plugin))
            pipeline.hmget(self._keys.pointer_macs(plugin), ids)
            for webhook in ids:
                pipeline.get(self._keys.last_revision(plugin, webhook))
            currents, count, macs, *lasts = pipeline.execute()
        if count + currents.count(None) > MAX_WEBHOOKS:
            raise DocumentError(faults=(Fault("", f"a plugin has at most {MAX_WEBHOOKS} webhooks"),))
        return [
            self._plan_one(plugin, registration, current or b"", last or b"0", mac)
            for registration, current, last, mac in zip(registrations, currents, lasts, macs, strict=True)
        ]

    def _plan_one(
        self, plugin: str, registration: Registration, current: bytes, last: bytes, mac: bytes | None
    ) -> PlannedRevision:
        webhook, shape = registration.shape.webhook_id, registration.shape.to_json()
        target = registration.target.to_json()
        if (
            current
            and self._is_same(plugin, webhook, int(current), shape, target)
            and is_authentic(self._vault, plugin, webhook, int(current), shape, mac)
        ):
            return PlannedRevision(Applied(webhook, int(current), "unchanged"), current, last)
        number = int(last) + 1
        applied = Applied(webhook, number, "changed" if current else "created")
        sealed = self._targets().seal(target, target_owner(plugin, webhook, number, shape))
        new_mac = pointer_mac(self._vault, plugin, webhook, number, shape)
        return PlannedRevision(applied, current, last, shape, sealed, new_mac)

    def _is_same(self, plugin: str, webhook_id: str, number: int, shape: bytes, target: bytes) -> bool:
        """Return whether a revision is identical. One that cannot be opened is not: registering again repairs it."""
        owner = target_owner(plugin, webhook_id, number, shape)
        try:
            with store_errors():
                stored_shape = self._client.hget(self._keys.revision(plugin, webhook_id, number), "shape")
                sealed = self._client.get(self._keys.target(plugin, webhook_id, number)) or b""
            return stored_shape == shape and self._targets().open(sealed, owner) == target
        except (StoreFault, VaultError):
            return False

    def _commit(
        self, plugin: str, planned: Sequence[PlannedRevision], seen: ReadSet, act: Act = Act.WEBHOOK_APPLY
    ) -> bool:
        arguments: list[bytes | str] = [plugin, str(len(planned)), seen.to_json(), actor(), act]
        for each in planned:
            arguments += each.arguments()
        for each in planned:
            self._pointers.pop((plugin, each.applied.webhook_id), None)
        return bool(self._scripts.run("apply_webhooks", arguments, self._keys.root(plugin)) == b"applied")

    def _read_pointer(self, name: tuple[str, str]) -> int:
        read_at_s = time.monotonic()
        with store_errors():
            pipeline = self._client.pipeline(transaction=True)
            pipeline.hget(self._keys.webhooks(name[0]), name[1])
            pipeline.hget(self._keys.pointer_macs(name[0]), name[1])
            pointer, mac = pipeline.execute()
        number = StoredFields(self._keys.webhooks(name[0]), {name[1].encode(): pointer or b""}).number(name[1])
        if not number or not self._is_current(*name, number, mac):
            self._pointers.pop(name, None)
            return 0
        if len(self._pointers) >= MAX_POINTERS:
            self._pointers.clear()  # entries last for a second: evicting them in order is not worth it
        self._pointers[name] = (number, read_at_s)
        return number

    def _is_current(self, plugin: str, webhook_id: str, number: int, mac: bytes | None) -> bool:
        try:
            _, shape = self._shape(plugin, webhook_id, number)
            if not is_made_by_relay(self._vault, plugin, webhook_id, number, shape, mac):
                # A server that lost its data gives out numbers again, and cached revisions do not belong to these.
                _, stored = self._read_shape(plugin, webhook_id, number)
                if stored != shape:
                    self._forget()
                    shape = stored
        except NotFound:
            return False
        return is_authentic(self._vault, plugin, webhook_id, number, shape, mac)

    def _forget(self) -> None:
        for cached in (self._shape, self._revision, self._target):
            cached.cache_clear()

    def _read_shape(self, plugin: str, webhook_id: str, number: int) -> tuple[Shape, bytes]:
        stored = self._read_revision(plugin, webhook_id, number)
        return stored.shape, stored.shape_json

    def _read_revision(self, plugin: str, webhook_id: str, number: int) -> StoredRevision:
        key = self._keys.revision(plugin, webhook_id, number)
        (fields,) = replies_to(self._client, [("HGETALL", key)])
        revision = StoredFields(key, fields)
        shape = revision.get("shape", lambda text: Shape.from_json(text.encode()))
        if shape is None:
            raise NotFound("There is no such revision, or it is damaged.")
        created_at_ms = revision.needed("createdAt", number_of) or 0
        return StoredRevision(shape, fields[b"shape"], created_at_ms, revision.text("by") or "")

    def _open_target(self, plugin: str, webhook_id: str, number: int) -> Target | ChainTarget:
        stored = self.revision(plugin, webhook_id, number)
        owner = target_owner(plugin, webhook_id, number, stored.shape_json)
        with store_errors():
            sealed = self._client.get(self._keys.target(plugin, webhook_id, number)) or b""
        return target_from_json(self._targets().open(sealed, owner))

    def _targets(self) -> Vault:
        if self._target_vault is None:
            raise SettingsError("RELAY_TARGET_KEYS is not set: targets can be neither sealed nor opened without it.")
        return self._target_vault
