"""Checks whether some order of what clients invoked explains what they were told (linearizability).

Each operation took effect at some moment between its beginning and its reply, or, if no reply came, at any moment after
its beginning or never. The search is that of Wing and Gong (1993) with Lowe's memory of what was tried (2017): it takes
the operations of one object in every possible order, and asks the object's sequential model what may follow.
"""

from __future__ import annotations

import math
import threading
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

#: The reply of an operation that may or may not have happened.
LOST = "lost"


@dataclass(frozen=True)
class Operation:
    """What one client invoked on one object, and what it was told; times are seconds of one clock."""

    kind: str
    told: Any
    began_s: float
    ended_s: float

    @property
    def is_lost(self) -> bool:
        return self.told == LOST


class Model(Protocol):
    """The sequential behaviour of a kind of object."""

    start: Hashable

    def follow(self, state: Hashable, operation: Operation) -> Iterable[Hashable]:
        """Return the states in which the object may be after the operation; none if it cannot be told that."""
        ...


class History:
    """The operations on each object, from any number of threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._operations: dict[tuple[str, str], list[Operation]] = defaultdict(list)

    def add(self, kind_of_object: str, name: str, operation: Operation) -> None:
        """Add an operation on an object, for example on the call of a reference id."""
        with self._lock:
            self._operations[kind_of_object, name].append(operation)

    def of(self, kind_of_object: str) -> dict[str, list[Operation]]:
        """Return the operations on all objects of a kind, by object."""
        with self._lock:
            return {name: list(each) for (kind, name), each in self._operations.items() if kind == kind_of_object}


def is_explained(operations: Sequence[Operation], model: Model) -> bool:
    """Return whether some order of the operations explains every reply."""
    ordered = sorted(operations, key=lambda each: each.began_s)
    everything = frozenset(range(len(ordered)))
    due = frozenset(number for number, each in enumerate(ordered) if not each.is_lost)
    tried: set[tuple[frozenset[int], Hashable]] = set()
    todo: list[tuple[frozenset[int], Hashable]] = [(everything, model.start)]
    while todo:
        left, state = todo.pop()
        if not left & due:
            return True
        if (left, state) in tried:
            continue
        tried.add((left, state))
        first_end_s = min((ordered[number].ended_s for number in left & due), default=math.inf)
        for number in left:
            if ordered[number].began_s <= first_end_s:  # otherwise another one had ended before it began
                todo += [(left - {number}, after) for after in model.follow(state, ordered[number])]
    return False
