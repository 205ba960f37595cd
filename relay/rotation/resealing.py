"""Use case: everything in the store is sealed with the newest keys while traffic runs; and who needs an old key."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from relay.errors import Conflict, VaultError
from relay.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from relay.store.keys import ApiKeys
    from relay.store.registry import Registry
    from relay.store.sealed_values import SealedValue, SealedValues


@dataclass(slots=True)
class Resealed:
    """What a pass came to: values sealed anew, values up to date, and the keys of values that no key opens."""

    resealed: int = 0
    current: int = 0
    unreadable: list[str] = field(default_factory=list)


class Resealing:
    """Seals anew. Can be stopped at any moment and begun again: what is done is found done."""

    def __init__(
        self, values: SealedValues, vaults: Mapping[str, Vault], api_keys: ApiKeys, registry: Registry
    ) -> None:
        self._values = values
        self._vaults = vaults
        self._api_keys = api_keys
        self._registry = registry

    def run(self, on_step: Callable[[], None]) -> Resealed:
        """Seal everything with the newest keys; ``on_step`` is called for each key that was looked at.

        Raises:
            Conflict: a plugin is being moved to another partition, or was meanwhile.
        """
        found = Resealed()
        with self._nothing_moved():
            self._api_keys.reseal()
            self._registry.reseal()
            for value in self._values.every():
                on_step()
                if value is not None:
                    self._reseal(value, found)
        return found

    def uses(self) -> dict[str, Counter[str]]:
        """Count, by ring and key id, the values that are sealed under each key. Raises `Conflict` as `run`."""
        counts: dict[str, Counter[str]] = {name: Counter() for name in self._vaults}
        with self._nothing_moved():
            for value in self._values.every():
                if value is not None:
                    counts[value.ring][Vault.key_id_of(value.sealed)] += 1
        return counts

    @contextmanager
    def _nothing_moved(self) -> Iterator[None]:
        """What is copied while it is gone through may be found in neither place: then all of it does not count."""
        before = self._values.places()
        yield
        if self._values.places() != before:
            raise Conflict("A plugin was moved to another partition meanwhile: give the command again.")

    def _reseal(self, value: SealedValue, found: Resealed) -> None:
        vault = self._vaults[value.ring]
        try:
            if Vault.key_id_of(value.sealed) == vault.key_ids[0]:
                found.current += 1
                return
            opened = vault.open(value.sealed, value.owner)
        except VaultError:
            found.unreadable.append(value.key)
            return
        if self._values.replace(value, vault.seal(opened, value.owner)):
            found.resealed += 1
