"""Seals everything in the store with the newest keys while traffic runs, and counts what old keys still seal."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from relay.errors import VaultError
from relay.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from relay.store.decisions.every import EveryDecision
    from relay.store.rings.sealed_values import SealedValue, SealedValues


#: How many damaged values are remembered by their keys, for operators.
NAMED: Final = 10


@dataclass(slots=True)
class Damaged:
    """Values that do not open with the available keys: how many of each kind, and where the first of them lie."""

    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)  # by ring, kind and plugin
    keys: list[str] = field(default_factory=list)

    def add(self, value: SealedValue) -> None:
        """Count one more damaged value."""
        self.counts[value.ring, value.kind, value.plugin] += 1
        if len(self.keys) < NAMED:
            self.keys.append(value.key)

    def of(self, ring: str) -> int:
        """Return how many damaged values belong to a ring."""
        return sum(count for (each, _, _), count in self.counts.items() if each == ring)


@dataclass(slots=True)
class KeyUses:
    """How many values are sealed under each key, by ring; and the values that no key opens."""

    counts: dict[str, Counter[str]]
    damaged: Damaged = field(default_factory=Damaged)


class Resealing:
    """Reseals all values. May be stopped at any moment and repeated: it recognises the values that are done."""

    def __init__(self, values: SealedValues, vaults: Mapping[str, Vault], decisions: EveryDecision) -> None:
        self._values = values
        self._vaults = vaults
        self._decisions = decisions

    def run(self, on_step: Callable[[], object]) -> tuple[dict[str, int], Damaged]:
        """Seal everything with the newest keys; call ``on_step`` for each key that was examined.

        Returns how many values were sealed anew and were up to date, and those that no key opens. Raises `Conflict`,
        after all else is done, if decisions fail verification.
        """
        done, damaged = {"resealed": 0, "current": 0}, Damaged()
        for value, opened in self._opened(self._values.every(), damaged, on_step):
            vault = self._vaults[value.ring]
            if Vault.key_id_of(value.sealed) == vault.key_ids[0]:
                done["current"] += 1
            elif self._values.replace(value, vault.seal(opened, value.owner)):
                done["resealed"] += 1
        self._decisions.reseal()
        return done, damaged

    def uses(self) -> KeyUses:
        """Count the values that are sealed under each key, by ring and key id."""
        found = KeyUses({name: Counter() for name in self._vaults})
        self._count(self._values.every(), found)
        return found

    def uses_found(self) -> tuple[KeyUses, bool]:
        """Count as `uses`, on the servers that answer; also return whether all of them did."""
        found = KeyUses({name: Counter() for name in self._vaults})
        return found, self._values.on_each_server(lambda values: self._count(values, found))

    def _count(self, values: Iterator[SealedValue | None], found: KeyUses) -> None:
        for value, _ in self._opened(values, found.damaged):
            found.counts[value.ring][Vault.key_id_of(value.sealed)] += 1

    def _opened(
        self, values: Iterator[SealedValue | None], damaged: Damaged, on_step: Callable[[], object] = lambda: None
    ) -> Iterator[tuple[SealedValue, bytes]]:
        """Yield every value of the available rings that opens, with its content; count others in ``damaged``."""
        for value in values:
            on_step()
            if value is None or value.ring not in self._vaults:
                continue
            try:
                opened = self._vaults[value.ring].open(value.sealed, value.owner)
            except VaultError:
                damaged.add(value)
            else:
                yield value, opened
