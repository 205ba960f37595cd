"""Checks that a document breaks no webhook that uses another one, as a step or a callback, and that it has its secrets.

Also checks that a new value of a secret breaks no webhook that refers to it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from relay.chains.checking import chain_faults
from relay.errors import MAX_FAULTS, BadParameter, DocumentError, Fault, NotFound, VaultError
from relay.registration import ChainTarget, Target
from relay.registration.callback import callback_faults
from relay.registration.stored_secrets import filled, referred
from relay.store.keys.keyspace import SINGLE, Keyspace
from relay.store.server.errors import store_errors

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from redis import Redis

    from relay.registration import Shape
    from relay.registration.building import Registration
    from relay.store.registry.webhooks import Registry


_NAMED: Final = 5  # how many users are named by a refusal to remove what they use


def named_users(users: Sequence[bytes]) -> str:
    """Return the first users, and how many more there are."""
    names = ", ".join(f"`{user.decode()}`" for user in users[:_NAMED])
    return names + (f" and {len(users) - _NAMED} more" if len(users) > _NAMED else "")


class Uses:
    """The index of which webhooks use which. Raises ``Unavailable`` when the store cannot be reached."""

    def __init__(self, client: Redis, registry: Registry, keys: Keyspace = SINGLE) -> None:
        self._keys = keys
        self._client: Any = client  # replies are bytes; redis-py types them as bytes or str
        self._registry = registry

    def check(self, plugin: str, registrations: Sequence[Registration]) -> None:
        """Check every webhook of the document, and every other webhook that uses one of them.

        The result holds only until something else is decided; the apply script checks that nothing was.

        Raises:
            DocumentError: one of them would not match the webhooks that its steps or its callback name.
        """
        check = _Check(plugin, {each.shape.webhook_id: each for each in registrations}, self._registry)
        faults = [fault for each in registrations for fault in check.own_faults(each)]
        faults += self._users_faults(check)
        if faults:
            raise DocumentError(faults=tuple(faults[:MAX_FAULTS]))

    def check_secret(self, plugin: str, name: str, value: str) -> None:
        """Check a new value of a secret in every webhook whose current revision refers to it.

        The result holds only until something else is decided; the script that sets the secret checks that nothing was.

        Raises:
            BadParameter: the value is not allowed where a webhook uses it; the faults name these places.
        """
        users = self._registry.secrets.users(plugin, name)
        faults = tuple(fault for user in users for fault in self._misfits(plugin, name, value, user))
        if faults:
            raise BadParameter("The value does not fit where webhooks use it; nothing was changed.", faults=faults)

    def _misfits(self, plugin: str, secret: str, value: str, user: str) -> Iterator[Fault]:
        """Yield what does not fit; nothing if the webhook or another of its secrets is damaged, and so needs repair."""
        current = self._registry.current(plugin, user, refresh=True)
        if current is None:
            return
        try:
            target = self._registry.open_target(plugin, user, current[0])
            if not isinstance(target, Target):
                return
            others = [name for name in referred(target) if name != secret]
            values = self._registry.secrets.values(plugin, others, fresh=True)
            filled(target, {secret: value} | {name: each.value for name, each in zip(others, values, strict=True)})
        except (NotFound, VaultError):
            return
        except DocumentError as error:
            yield from (Fault(f"/{user}{fault.pointer}", fault.message) for fault in error.faults)

    def _users_faults(self, check: _Check) -> Iterator[Fault]:
        """Yield faults of webhooks outside the document that use one in it, directly or through other chains."""
        checked: set[str] = set()
        below = dict(check.document)
        while below:
            found = self._read_users(check.plugin, list(below))
            above: dict[str, Registration] = {}
            for webhook_id, users in found.items():
                for user in users:
                    if user not in check.document and user not in checked:
                        above.setdefault(user, below[webhook_id])
            for user, cause in above.items():
                yield from check.faults_of_user(user, cause)
            checked |= above.keys()
            below = above

    def _read_users(self, plugin: str, webhook_ids: Sequence[str]) -> dict[str, list[str]]:
        with store_errors():
            pipeline = self._client.pipeline(transaction=False)
            for webhook_id in webhook_ids:
                pipeline.smembers(self._keys.of_plugin("users", plugin, webhook=webhook_id))
            rows = pipeline.execute()
        return {
            webhook_id: sorted(user.decode() for user in users)
            for webhook_id, users in zip(webhook_ids, rows, strict=True)
        }


@dataclass(frozen=True, slots=True)
class _Check:
    """The check of one document."""

    plugin: str
    document: dict[str, Registration]
    registry: Registry
    _read: dict[str, tuple[int, Shape] | None] = field(default_factory=dict)

    def own_faults(self, registration: Registration) -> Iterator[Fault]:
        for pointer, message in callback_faults(registration.shape, self._lookup):
            yield registration.fault(pointer, message)
        if isinstance(registration.target, ChainTarget):
            for pointer, message in chain_faults(registration.shape, registration.target, self._lookup):
                yield registration.fault(pointer, message)
            return
        try:
            self.registry.fill(self.plugin, registration.target, fresh=True)
        except NotFound as error:
            yield registration.fault("", f"refers to a secret that is not set: {error.message}")
        except DocumentError as error:
            yield from (registration.fault(each.pointer, each.message) for each in error.faults)

    def faults_of_user(self, user: str, cause: Registration) -> Iterator[Fault]:
        """Yield what a changed webhook, ``cause``, would break in a webhook that is not in the document."""
        found = self._current(user)
        if found is None:
            return
        number, shape = found
        for pointer, message in callback_faults(shape, self._lookup):
            yield cause.fault("", f"would break `{user}`: its {pointer} {message}")
        target = self.registry.open_target(self.plugin, user, number)
        if isinstance(target, ChainTarget):
            for pointer, message in chain_faults(shape, target, self._lookup):
                yield cause.fault("", f"would break the chain `{user}`: its {pointer} {message}")

    def _lookup(self, webhook_id: str) -> Shape | None:
        """Return the shape that a webhook will have once the document is applied."""
        if webhook_id in self.document:
            return self.document[webhook_id].shape
        found = self._current(webhook_id)
        return found[1] if found is not None else None

    def _current(self, webhook_id: str) -> tuple[int, Shape] | None:
        if webhook_id not in self._read:
            self._read[webhook_id] = self.registry.current(self.plugin, webhook_id, refresh=True)
        return self._read[webhook_id]
