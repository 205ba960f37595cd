"""Splits items by partition, remembering the place of each among all of them, or into pieces."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Spread(Generic[T]):
    """The items of one partition, and the place of each among all items."""

    root: str
    items: Sequence[T]
    places: Sequence[int]


def spread(items: Sequence[T], root_of: Callable[[T], str]) -> list[Spread[T]]:
    """Split the items by partition; each part keeps their order."""
    places: dict[str, list[int]] = {}
    for place, item in enumerate(items):
        places.setdefault(root_of(item), []).append(place)
    return [Spread(root, [items[place] for place in each], each) for root, each in places.items()]


def pieces(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield the items in lists of this size; the last one may be shorter."""
    left = iter(items)
    while piece := list(islice(left, size)):
        yield piece
