"""Use case: everything in the store is sealed with the newest keys while traffic runs; and who needs an old key."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from relay.errors import Conflict, VaultError
from relay.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from relay.store.keys import ApiKeys
    from relay.store.registry import Registry
    from relay.store.sealed_values import SealedValue, SealedValues


#: Of so many damaged values the keys are kept, for whoever looks for them.
NAMED: Final = 10


@dataclass(slots=True)
class Damaged:
    """Values that do not open with the keys at hand: how many of each sort, and where the first of them lie."""

    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)  # by ring, kind and plugin
    keys: list[str] = field(default_factory=list)

    def add(self, value: SealedValue) -> None:
        """Count one more."""
        self.counts[value.ring, value.kind, value.plugin] += 1
        if len(self.keys) < NAMED:
            self.keys.append(value.key)

    def of(self, ring: str) -> int:
        """Return how many of them that ring should have sealed."""
        return sum(count for (each, _, _), count in self.counts.items() if each == ring)


@dataclass(slots=True)
class KeyUses:
    """How many values are sealed under each key, by ring; and what does not open, and so is under none."""

    counts: dict[str, Counter[str]]
    damaged: Damaged = field(default_factory=Damaged)


@dataclass(slots=True)
class Resealed:
    """What a pass came to: values sealed anew, values up to date, and those that no key opens."""

    resealed: int = 0
    current: int = 0
    damaged: Damaged = field(default_factory=Damaged)


class Resealing:
    """Seals anew. Can be stopped at any moment and begun again: what is done is found done."""

    def __init__(
        self, values: SealedValues, vaults: Mapping[str, Vault], api_keys: ApiKeys, registry: Registry
    ) -> None:
        self._values = values
        self._vaults = vaults
        self._api_keys = api_keys
        self._registry = registry

    def run(self, on_step: Callable[[], object]) -> Resealed:
        """Seal everything with the newest keys; ``on_step`` is called for each key that was looked at.

        Raises:
            Conflict: a plugin is being moved to another partition, or was meanwhile.
        """
        found = Resealed()
        with self._nothing_moved():
            self._api_keys.reseal()
            self._registry.reseal()
            for value, opened in self._opened(found.damaged, on_step):
                vault = self._vaults[value.ring]
                if Vault.key_id_of(value.sealed) == vault.key_ids[0]:
                    found.current += 1
                elif self._values.replace(value, vault.seal(opened, value.owner)):
                    found.resealed += 1
        return found

    def uses(self) -> KeyUses:
        """Count, by ring and key id, the values that are sealed under each key. Raises `Conflict` as `run`."""
        found = KeyUses({name: Counter() for name in self._vaults})
        with self._nothing_moved():
            for value, _ in self._opened(found.damaged):
                found.counts[value.ring][Vault.key_id_of(value.sealed)] += 1
        return found

    def _opened(
        self, damaged: Damaged, on_step: Callable[[], object] = lambda: None
    ) -> Iterator[tuple[SealedValue, bytes]]:
        """Yield every value of the rings at hand that opens, with what it holds; count others in ``damaged``."""
        for value in self._values.every():
            on_step()
            if value is None or value.ring not in self._vaults:
                continue
            try:
                opened = self._vaults[value.ring].open(value.sealed, value.owner)
            except VaultError:
                damaged.add(value)
            else:
                yield value, opened

    @contextmanager
    def _nothing_moved(self) -> Iterator[None]:
        """Refuse a count during which plugins were moved: what is copied meanwhile may be found in neither place."""
        before = self._values.places()
        yield
        if self._values.places() != before:
            raise Conflict("A plugin was moved to another partition meanwhile: give the command again.")
