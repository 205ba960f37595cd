"""Asks each partition separately, and does without those that do not answer soon.

Nothing else visits several partitions (`tests/architecture/test_partitions.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast

from redis.cluster import RedisCluster
from redis.exceptions import TimeoutError as ServerSilent

from relay.errors import Unavailable
from relay.store.keys.names import CONFIRMED, SHARED_ROOT, partition_root, root_name
from relay.store.partitions.spreading import spread
from relay.store.server.availability import going_on_without
from relay.store.server.errors import is_answer, store_errors
from relay.store.server.replicas import check_not_silent, primaries_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import redis

    from relay.store.keys.keyspace import Keyspace
    from relay.store.partitions.spreading import Spread

T = TypeVar("T")
R = TypeVar("R")
N = TypeVar("N")


@dataclass(frozen=True, slots=True)
class Answers(Generic[N, T]):
    """The answers, in order, and those that did not answer, each with the reason."""

    found: Mapping[N, T]
    silent: Mapping[N, Unavailable]

    def __iter__(self) -> Iterator[T]:
        return iter(self.found.values())

    @property
    def complete(self) -> bool:
        """Whether all of them answered."""
        return not self.silent


def ask_partitions(client: redis.Redis, keys: Keyspace, ask: Callable[[int], T]) -> Answers[int, T]:
    """Ask every partition, by its number; raise `Unavailable` if none answers."""
    return _ask({number: partition_root(number) for number in range(keys.partitions)}, client, ask)


def ask_roots(client: redis.Redis, keys: Keyspace, ask: Callable[[str], T]) -> Answers[str, T]:
    """Ask every partition and the shared keys, each by its root; raise `Unavailable` if none answers."""
    return _ask({root: root for root in roots_of(keys)}, client, ask)


def ask_groups(
    client: redis.Redis, items: Sequence[T], root_of: Callable[[T], str], ask: Callable[[Spread[T]], R]
) -> tuple[list[R], list[T]]:
    """Ask each partition about its own items; return the answers, and the items of partitions that gave none."""
    groups = {group.root: group for group in spread(items, root_of)}
    try:
        answers = _ask({root: root for root in groups}, client, lambda root: ask(groups[root]))
    except Unavailable:
        return [], list(items)
    return list(answers), [item for root in answers.silent for item in groups[root].items]


def ask_servers(client: redis.Redis, ask: Callable[[Any], T]) -> Answers[int, T]:
    """Ask every server that takes writes, each through a client of its own; raise `Unavailable` if none answers."""
    servers = primaries_of(client)
    return _answers(range(len(servers)), lambda number: ask(servers[number]), apart=len(servers) > 1)


def ask_first(client: redis.Redis, keys: Keyspace, ask: Callable[[str], T]) -> T:
    """Ask the shared keys; if they are silent, one partition after another, by its root, until one answers."""
    away, several = Unavailable(), len(primaries_of(client)) > 1
    for root in (SHARED_ROOT, *map(partition_root, range(keys.partitions) if several else ())):
        try:
            return _ask({root: root}, client, ask).found[root]
        except Unavailable as error:
            if is_answer(error):
                raise
            away = error
    raise away


def roots_of(keys: Keyspace) -> list[str]:
    """Return the root of each partition, and that of the shared keys."""
    return [*map(partition_root, range(keys.partitions)), SHARED_ROOT]


def _ask(roots: Mapping[N, str], client: redis.Redis, ask: Callable[[N], T]) -> Answers[N, T]:
    def ask_unless_silent(name: N) -> T:
        check_not_silent(client, roots[name])
        return ask(name)

    return _answers(roots, ask_unless_silent, apart=isinstance(cast("Any", client), RedisCluster))


def _answers(names: Iterable[N], ask: Callable[[N], T], *, apart: bool) -> Answers[N, T]:
    """Collect answers. Unless servers are asked ``apart``, there is only one: if silent, it is not asked again."""
    found: dict[N, T] = {}
    silent: dict[N, Unavailable] = {}
    for name in names:
        try:
            with going_on_without():
                found[name] = ask(name)
        except Unavailable as error:
            if not apart and isinstance(error.__cause__, ServerSilent):
                raise
            silent[name] = error
    if silent and not found:
        raise next(iter(silent.values()))
    return Answers(found, silent)


class Partitions:
    """The partitions of a store, for code that has no client of it."""

    def __init__(self, client: redis.Redis, keys: Keyspace) -> None:
        self._client: Any = client
        self._keys = keys

    def ask(self, ask: Callable[[int], T]) -> Answers[int, T]:
        """Ask every partition, like `ask_partitions`."""
        return ask_partitions(self._client, self._keys, ask)

    def silence(self) -> Silence:
        """Return what does not answer now: partitions, or the shared keys. Raises `Unavailable` if nothing does."""
        silent = ask_roots(self._client, self._keys, self._touch).silent
        return Silence.among(root for root, error in silent.items() if not is_answer(error))

    def _touch(self, root: str) -> None:
        with store_errors():
            self._client.exists(root + CONFIRMED)


@dataclass(frozen=True, slots=True)
class Silence:
    """The partitions that do not answer, in order, and whether the shared keys are silent too."""

    partitions: tuple[int, ...] = ()
    shared: bool = False

    @classmethod
    def among(cls, roots: Iterable[str]) -> Self:
        """Return the silence of these roots."""
        names = [root_name(root) for root in roots]
        return cls(tuple(sorted(int(name) for name in names if name.isdigit())), root_name(SHARED_ROOT) in names)

    def __bool__(self) -> bool:
        return self.shared or bool(self.partitions)

    @property
    def sentence(self) -> str:
        """What does not answer, and what that means, in words."""
        verb, owner = ("do", "their") if len(self.partitions) > 1 else ("does", "its")
        told = f"{partitions_in_words(self.partitions)} {verb} not answer: calls of {owner} plugins wait."
        shared = "The shared keys do not answer: API keys that a process does not know yet get 503."
        return " ".join([told] * bool(self.partitions) + [shared] * self.shared)


def partitions_in_words(numbers: Iterable[int]) -> str:
    """Return partitions in words, such as ``Partitions 3, 7 and 11``."""
    *others, last = map(str, sorted(numbers)) if numbers else [""]
    return f"Partitions {', '.join(others)} and {last}" if others else f"Partition {last}"
