"""Lists a plugin's invocations, newest first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from relay.store import keyspace
from relay.store.records import invocation_from
from relay.store.scripts import store_errors

if TYPE_CHECKING:
    import redis

    from relay.invocation import Invocation, Outcome, State

_PAGE: Final = 200
MAX_PAGE: Final = 1_000  # rows that one page may have

#: A status as a filter names it: an exact one, or a class, ``"5xx"``.
StatusFilter: TypeAlias = "int | str"


@dataclass(frozen=True, slots=True)
class Filter:
    """Which invocations are meant; what is None or empty does not matter. Times are of createdAt, both included."""

    webhook_id: str | None = None
    states: frozenset[State] = frozenset()
    status: tuple[StatusFilter, ...] = ()  # any of these
    outcome: Outcome | None = None
    caller: str | None = None  # id of the API key
    chain: str | None = None  # a parent's reference id: its steps
    replay: str | None = None  # a replay job's id: what it created
    since_ms: int | None = None
    until_ms: int | None = None
    error: bool | None = None  # of the result


@dataclass(frozen=True, slots=True)
class Page:
    """Rows, newest first, and where the next page begins; None: there is nothing more.

    A page may hold fewer rows than were asked for, even none, and have a cursor still: so much is looked at for one
    page and no more.
    """

    rows: list[Invocation]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class Group:
    """How many invocations of a webhook ended alike, and when the first and the last of them were created."""

    webhook_id: str
    outcome: str | None
    status: int | None
    count: int
    first_ms: int
    last_ms: int


class Listing:
    """Reads records through their indexes. Raises `Unavailable` while the server is away."""

    def __init__(self, client: redis.Redis) -> None:
        self._client: Any = client

    def page(self, plugin: str, wanted: Filter, *, limit: int = 50, cursor: str | None = None) -> Page:
        """One page of a plugin's invocations. Cursors stay good while records come and go.

        Raises:
            BadParameter: the cursor is none that a page gave.
        """
        raise NotImplementedError

    def groups(self, plugin: str, wanted: Filter) -> list[Group]:
        """How the invocations ended, by webhook, outcome and status, most frequent first."""
        raise NotImplementedError

    def newest(
        self, plugin: str, *, webhook_id: str | None = None, state: State | None = None, limit: int = 50
    ) -> list[Invocation]:
        """A plugin's invocations, newest first. Goes: `page` takes its place."""
        found: list[Invocation] = []
        start = 0
        while len(found) < limit:
            page = self._page(plugin, start)
            if not page:
                break
            start += _PAGE
            found.extend(
                row
                for row in page
                if (webhook_id is None or row.webhook_id == webhook_id) and (state is None or row.state is state)
            )
        return found[:limit]

    def _page(self, plugin: str, start: int) -> list[Invocation]:
        with store_errors():
            refs = self._client.zrevrange(keyspace.plugin_index(plugin), start, start + _PAGE - 1)
            pipeline = self._client.pipeline(transaction=False)
            for ref in refs:
                pipeline.hgetall(keyspace.record(ref.decode()))
            records = pipeline.execute() if refs else []
        return [invocation_from(ref.decode(), fields) for ref, fields in zip(refs, records, strict=True) if fields]
