"""A plugin's secrets, each sealed separately; the targets of webhooks refer to them by their names.

A value counts only if it matches the last decision about its secret (`relay.store.decisions`): somebody who can write
to the server can neither put an earlier value back, nor revive a secret that was removed.
"""

from __future__ import annotations

import logging
import secrets
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import uuid4

import orjson

from relay.audit.actor import actor
from relay.audit.entry import name_of
from relay.errors import Conflict, NotFound, OverCapacity, SettingsError, VaultError
from relay.registration.steps import MAX_CHAIN_TIMEOUT_S
from relay.store.decisions.chain import GONE, secret_subject
from relay.store.decisions.decisions import AGE_S, READS, STALE
from relay.store.registry.uses import named_users
from relay.store.scripting.scripts import Scripts
from relay.store.server.errors import store_errors
from relay.store.server.fields import MOST
from relay.telemetry.log import Event, event
from relay.vault import secret_owner

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from redis import Redis

    from relay.store.decisions.every import EveryDecision
    from relay.store.keys.keyspace import Keyspace
    from relay.store.registry.uses import Uses
    from relay.vault import Vault

#: How long a process uses a value without reading the store again, in seconds.
SECRET_AGE_S: Final = 1.0
MAX_SECRETS: Final = 1_000  # per plugin
MAX_KNOWN: Final = 10_000  # remembered by one process
#: How long answers still hide a value that was replaced, in seconds: longer than a call with the old one may take.
FORMER_S: Final = 2 * MAX_CHAIN_TIMEOUT_S
MAX_FORMER: Final = 8
_STAMP_BYTES: Final = 8


class SecretValue(NamedTuple):
    """The value of a secret, and its recent values, which answers hide as well. The repr shows none of them."""

    value: str
    former: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return "SecretValue(...)"


class SecretSetting(NamedTuple):
    """When a secret was set (ms since the epoch), and the operator who set it."""

    at_ms: int
    by: str


class Secrets:
    """The secrets of all plugins. Methods raise `Unavailable` when the store cannot be reached."""

    def __init__(
        self, client: Redis, vault: Vault | None, keys: Keyspace, decisions: EveryDecision, uses: Uses
    ) -> None:
        self._client: Any = client  # replies are bytes; redis-py types them as bytes or str
        self._scripts = Scripts(client)
        self._vault = vault
        self._keys = keys
        self._decisions = decisions
        self._uses = uses
        self._known: dict[tuple[str, str], tuple[SecretValue, float]] = {}

    def values(self, plugin: str, names: Iterable[str], *, fresh: bool = False) -> tuple[SecretValue, ...]:
        """Return the values of these secrets, at most a second old; with ``fresh``, read now.

        Raises:
            NotFound: one of them is not set, or its value is not the last one that was set.
            VaultError: one does not open with this process's keys.
            SettingsError: this process has no target keys.
        """
        wanted, now_s = list(names), time.monotonic()
        known = [] if fresh else [(name, *self._known.get((plugin, name), (None, 0.0))) for name in wanted]
        found = {name: value for name, value, until_s in known if value is not None and now_s < until_s}
        missing = [name for name in wanted if name not in found]
        if missing:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()  # entries last for a second: evicting them in order is not worth it
            for name, value in zip(missing, self._verified(plugin, missing), strict=True):
                found[name] = value
                self._known[plugin, name] = (value, now_s + SECRET_AGE_S)
        return tuple(found[name] for name in wanted)

    def set(self, plugin: str, name: str, value: str) -> str:
        """Set a secret; return ``created`` or ``changed``.

        Raises:
            BadParameter: the value is not allowed where a webhook uses it.
            OverCapacity: the plugin would have more than `MAX_SECRETS`.
            Conflict: others keep changing webhooks or secrets.
            SettingsError: this process has no target keys.
        """
        self._known.pop((plugin, name), None)
        stamp = secrets.token_hex(_STAMP_BYTES)
        for end in self._decisions.of(plugin).ends():
            self._uses.check_secret(plugin, name, value)
            (before,) = self._read(plugin, [name])
            if before is None and len(self.names(plugin)) >= MAX_SECRETS:
                raise OverCapacity(f"A plugin has at most {MAX_SECRETS} secrets: remove one first.")
            sealed = self._sealed(plugin, name, value, before, stamp)
            decided = end.adding({secret_subject(plugin, name): stamp})
            arguments = [plugin, name, before or b"", sealed, actor(), uuid4().hex, *decided]
            outcome = self._scripts.run("set_secret", arguments, self._keys.root(plugin))
            if outcome != STALE:
                break
        return str(outcome.decode())

    def remove(self, plugin: str, name: str) -> bool:
        """Remove a secret; return False if it was not set.

        Raises:
            Conflict: registrations refer to it; the message names them.
        """
        self._known.pop((plugin, name), None)
        # The script's reply does not say whether it removed one: repeated after a lost reply it would say no.
        (before,) = self._read(plugin, [name])
        decisions, subject = self._decisions.of(plugin), secret_subject(plugin, name)
        for end in decisions.ends():
            changes = {} if decisions.value(subject) in {"", GONE} else {subject: GONE}
            users = self._scripts.run(
                "remove_secret", [plugin, name, actor(), *end.adding(changes)], self._keys.root(plugin)
            )
            if users != STALE:
                break
        if users:
            raise Conflict(f"The secret is used by {named_users(users)}: change or remove that first.")
        return before is not None

    def names(self, plugin: str) -> list[str]:
        """Return the names of a plugin's secrets, in order."""
        with store_errors():
            return sorted(map(_shown, self._client.smembers(self._keys.of_plugin("secret_names", plugin))))

    def users(self, plugin: str, name: str) -> list[str]:
        """Return the webhooks whose current revision refers to a secret, in order."""
        with store_errors():
            return sorted(map(_shown, self._client.smembers(self._keys.of_plugin("secret_users", plugin, secret=name))))

    def settings(self, plugin: str, names: Sequence[str]) -> Mapping[str, Sequence[SecretSetting]]:
        """Return when and by whom each secret was set, oldest first, as far as that is kept."""
        if not names:
            return {}
        with store_errors():
            pipeline = self._client.pipeline(transaction=False)
            for name in names:
                # What is not a time counts as missing.
                key = self._keys.of_plugin("secret_settings", plugin, secret=name)
                pipeline.zrangebyscore(key, 0, MOST, withscores=True)
            rows = pipeline.execute()
        return {
            name: [SecretSetting(int(at), name_of(_shown(member).partition(" ")[2])) for member, at in row]
            for name, row in zip(names, rows, strict=True)
        }

    def _read(self, plugin: str, names: Iterable[str]) -> list[bytes | None]:
        with store_errors():
            return list(self._client.mget([self._keys.of_plugin("secret", plugin, secret=name) for name in names]))

    def _verified(self, plugin: str, names: Sequence[str]) -> list[SecretValue]:
        """Read values, and compare each with the last decision about its secret."""
        decisions = self._decisions.of(plugin)
        decisions.refresh(AGE_S)
        for _ in range(READS):
            opened = [self._open(plugin, *each) for each in zip(names, self._read(plugin, names), strict=True)]
            stamps = zip(names, opened, strict=True)
            unlike = [name for name, (_, stamp) in stamps if decisions.value(secret_subject(plugin, name)) != stamp]
            if not unlike:
                return [value for value, _ in opened]
            decisions.refresh()  # another value may have been set since it was read
        event(Event.SECRET_UNVERIFIED, level=logging.ERROR, plugin=plugin, secret=unlike[0])
        raise _missing(plugin, unlike[0])

    def _open(self, plugin: str, name: str, sealed: bytes | None) -> tuple[SecretValue, str]:
        """Return a value and its stamp."""
        if sealed is None:
            raise _missing(plugin, name)
        value, former, stamp, *_ = orjson.loads(self._targets().open(sealed, secret_owner(plugin, name)))
        oldest_s = time.time() - FORMER_S
        return SecretValue(value, tuple(text for text, at_s in former if at_s > oldest_s)), stamp

    def _sealed(self, plugin: str, name: str, value: str, before: bytes | None, stamp: str) -> bytes:
        """Seal a value and its stamp, with the value that it replaces and others replaced recently."""
        owner, former = secret_owner(plugin, name), []
        if before is not None:
            try:
                old, older, *_ = orjson.loads(self._targets().open(before, owner))
            except VaultError:
                old, older = "", []  # sealed with a key that is gone: setting it again repairs it
            now_s = time.time()
            lately = [[old, now_s], *(each for each in older if now_s - each[1] < FORMER_S)]
            former = [each for each in lately if each[0] not in {"", value}]
        return self._targets().seal(orjson.dumps([value, former[:MAX_FORMER], stamp]), owner)

    def _targets(self) -> Vault:
        if self._vault is None:
            raise SettingsError("RELAY_TARGET_KEYS is not set: secrets can be neither sealed nor opened without it.")
        return self._vault


def _missing(plugin: str, name: str) -> NotFound:
    return NotFound(f"Plugin `{plugin}` has no secret `{name}`.")


def _shown(text: bytes) -> str:
    return text.decode("utf-8", "backslashreplace")
