"""Lists a plugin's invocations, newest first, and counts how they ended."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

import orjson

from relay.domain.invocation import Outcome, State
from relay.errors import BadParameter, Fault
from relay.store.keys.keyspace import SINGLE, Keyspace
from relay.store.ledger.records import invocation_from
from relay.store.scripting.generated_modules import MOST_HOPS
from relay.store.scripting.scripts import Scripts
from relay.store.server.errors import store_errors
from relay.store.server.replies import replies_to

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import redis

    from relay.domain.invocation import Invocation

MAX_PAGE: Final = 1_000  # rows on one page
#: How many records are examined for one page, and by one script; a script blocks the server meanwhile.
LOOKED_AT: Final = 1_000
LOOKED_AT_BY_SCRIPT: Final = 500
#: The caller that a trigger was accepted for: the id of an API key, or ``cli``.
CALLER: Final = re.compile(r"[A-Za-z0-9_-]{1,64}\Z", re.ASCII)
_POSITION: Final = re.compile(r"[0-9]{1,15}:[0-9a-f-]{36}\Z|#[0-9]{1,12}\Z", re.ASCII)
_PAGE: Final = 200

#: A status in a filter: an exact one, or a class such as ``"5xx"``.
StatusFilter: TypeAlias = "int | str"


@dataclass(frozen=True, slots=True)
class Filter:
    """Which invocations to select; None or empty members match all. Both times refer to createdAt and are inclusive."""

    webhook_id: str | None = None
    states: frozenset[State] = frozenset()
    status: tuple[StatusFilter, ...] = ()  # any of these
    outcome: Outcome | None = None
    caller: str | None = None  # id of the API key
    chain: str | None = None  # a parent's reference id: selects its steps
    replay: str | None = None  # a replay job's id: selects the invocations that it created
    subject: str | None = None  # keyed hash of the person they concern (`relay.store.subjects`)
    since_ms: int | None = None
    until_ms: int | None = None
    error: bool | None = None  # of the result
    unreplayed: bool = False  # leaves out those of which a replay has succeeded

    def to_json(self) -> bytes:
        """Return the filter as the JSON that ``lua/lib/filter.lua`` reads."""
        value = {
            "webhook": self.webhook_id,
            "states": sorted(self.states),
            "statuses": [str(status) for status in self.status],
            "outcome": self.outcome,
            "caller": self.caller,
            "parent": self.chain,
            "replay": self.replay,
            "subject": self.subject,
            "since": self.since_ms,
            "until": self.until_ms,
            "error": None if self.error is None else str(int(self.error)),
            "unreplayed": self.unreplayed or None,
        }
        return orjson.dumps({name: each for name, each in value.items() if each not in (None, [])})

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read the filter that ``to_json`` wrote."""
        value = orjson.loads(text)
        return cls(
            webhook_id=value.get("webhook"),
            states=frozenset(State(state) for state in value.get("states", ())),
            status=tuple(int(each) if each.isdecimal() else each for each in value.get("statuses", ())),
            outcome=Outcome(value["outcome"]) if "outcome" in value else None,
            caller=value.get("caller"),
            chain=value.get("parent"),
            replay=value.get("replay"),
            subject=value.get("subject"),
            since_ms=value.get("since"),
            until_ms=value.get("until"),
            error=value["error"] == "1" if "error" in value else None,
            unreplayed=value.get("unreplayed", False),
        )


@dataclass(frozen=True, slots=True)
class Page:
    """Rows, newest first, and the cursor of the next page; None if there is no next page.

    A page may have a cursor although it has fewer rows than were asked for, even none: the number of records examined
    for one page is limited.
    """

    rows: list[Invocation]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class OutcomeGroup:
    """How many invocations of a webhook ended in the same way, and when the first and last of them were created."""

    webhook_id: str
    outcome: str | None
    status: int | None
    count: int
    first_ms: int
    last_ms: int


@dataclass(frozen=True, slots=True)
class Counted:
    """Groups, most frequent first, and whether they cover every invocation."""

    groups: list[OutcomeGroup]
    complete: bool


class Listing:
    """Reads records through their indexes. Raises `Unavailable` while the server is away."""

    def __init__(self, client: redis.Redis, keys: Keyspace = SINGLE) -> None:
        self._keys = keys
        self._client: Any = client
        self._scripts = Scripts(client)

    def check_webhook(self, plugin: str, wanted: Filter) -> None:
        """Raise `BadParameter` if the filter names a webhook that is neither the plugin's nor that of any record."""
        if wanted.webhook_id is None:
            return
        keys = (
            self._keys.of_plugin("last_revision", plugin, webhook=wanted.webhook_id),
            self._keys.of_plugin("webhook_index", plugin, webhook=wanted.webhook_id),
        )
        with store_errors():
            known = self._client.exists(*keys)
        if not known:
            faults = (Fault("/filter/webhookId", "names no webhook of this plugin"),)
            raise BadParameter(f"Plugin `{plugin}` has no webhook `{wanted.webhook_id}`.", faults=faults)

    def knows(self, plugin: str) -> bool:
        """Return whether the store has records of a plugin with this name."""
        with store_errors():
            return bool(self._client.exists(self._keys.of_plugin("plugin_index", plugin)))

    def page(self, plugin: str, wanted: Filter, *, limit: int = 50, cursor: str | None = None) -> Page:
        """Read one page of a plugin's invocations, at most `MAX_PAGE` rows. Cursors outlive the records around them.

        Raises:
            BadParameter: the cursor is not one that a page returned.
        """
        position, looked, found = _position_of(cursor), 0, list[bytes]()
        limit = min(limit, MAX_PAGE)
        while len(found) < limit and looked < LOOKED_AT:
            position, seen, refs = self._piece(plugin, wanted, position, limit - len(found))
            looked += seen
            found.extend(refs)
            if not position:
                break
        return Page(self.records(found), _cursor_of(position) if position else None)

    def every(self, plugin: str, wanted: Filter) -> Iterator[Invocation]:
        """Yield all of a plugin's invocations, newest first, a page at a time."""
        cursor = None
        while True:
            page = self.page(plugin, wanted, limit=_PAGE, cursor=cursor)
            yield from page.rows
            cursor = page.cursor
            if cursor is None:
                return

    def groups(self, plugin: str, wanted: Filter) -> list[OutcomeGroup]:
        """Return how the invocations ended, by webhook, outcome and status, most frequent first."""
        return self.newest_groups(plugin, wanted).groups

    def newest_groups(self, plugin: str, wanted: Filter, *, at_most: int | None = None) -> Counted:
        """Count how invocations ended, like `groups`, but examine only about ``at_most`` of the newest ones."""
        counted, position, looked = OutcomeGroups(), "", 0
        while at_most is None or looked < at_most:
            args = [plugin, wanted.to_json(), position, LOOKED_AT_BY_SCRIPT]
            reply = self._scripts.run("tally", args, self._keys.root(plugin))
            position = reply[0].decode()
            counted.add(reply[1])
            looked += LOOKED_AT_BY_SCRIPT
            if not position:
                return Counted(counted.all(), complete=True)
        return Counted(counted.all(), complete=False)

    def records(self, reference_ids: Iterable[bytes]) -> list[Invocation]:
        """Read the records of these ids, in their order; leave out those that no longer exist."""
        refs = [ref.decode() for ref in reference_ids]
        keys = [self._keys.of_ref("record", ref) for ref in refs]
        steps = (self._keys.of_ref("steps", ref) for ref in refs)
        read = ((("HGETALL", key), ("LRANGE", of, 0, -1)) for key, of in zip(keys, steps, strict=True))
        replies = replies_to(self._client, chain.from_iterable(read))
        found = zip(refs, keys, replies[::2], replies[1::2], strict=True)
        return [invocation_from(ref, key, fields, steps) for ref, key, fields, steps in found if fields]

    def replay_states(self, invocations: Sequence[Invocation]) -> dict[str, Invocation]:
        """Return the newest replay of each invocation that was replayed, by the reference id of the original."""
        newest = {each.reference_id: each for each in invocations if each.replayed_by}
        for _ in range(MOST_HOPS):
            wanted = {each.replayed_by for each in newest.values() if each.replayed_by}
            if not wanted:
                break
            found = {each.reference_id: each for each in self.records(ref.encode() for ref in sorted(wanted))}
            newest = {
                ref: found.get(each.replayed_by, replace(each, replayed_by=None)) if each.replayed_by else each
                for ref, each in newest.items()
            }
        return newest

    def _piece(self, plugin: str, wanted: Filter, position: str, limit: int) -> tuple[str, int, list[bytes]]:
        script, of = ("list", wanted.chain or "") if wanted.replay is None else ("list_replay", wanted.replay)
        args = [plugin, wanted.to_json(), position, limit, LOOKED_AT_BY_SCRIPT, of]
        next_position, looked, refs = self._scripts.run(script, args, self._keys.root(plugin))
        # A piece without records is the last one, whatever the script says: otherwise pages might never end.
        return next_position.decode() if looked else "", int(looked), refs


class OutcomeGroups:
    """Adds up the groups that successive pieces of a listing return."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str, str], tuple[int, int, int]] = {}

    def add(self, rows: Iterable[Sequence[bytes]]) -> None:
        """Add rows that ``lua/lib/groups.lua`` made."""
        for webhook, outcome, status, count, first, last in rows:
            name = (_text(webhook), _text(outcome), _text(status))
            had, oldest, newest = self._groups.get(name, (0, int(first), int(last)))
            self._groups[name] = (had + int(count), min(oldest, int(first)), max(newest, int(last)))

    def all(self) -> list[OutcomeGroup]:
        """Return every group, most frequent first."""
        rows = [
            OutcomeGroup(webhook, outcome or None, int(status) if status else None, *numbers)
            for (webhook, outcome, status), numbers in self._groups.items()
        ]
        return sorted(rows, key=lambda each: (-each.count, each.webhook_id, each.outcome or "", each.status or 0))


def _text(altered: bytes) -> str:
    """Decode a text that somebody may have altered."""
    return altered.decode("utf-8", "backslashreplace")


def _cursor_of(position: str) -> str:
    return urlsafe_b64encode(position.encode()).decode().rstrip("=")


def _position_of(cursor: str | None) -> str:
    if cursor is None:
        return ""
    try:
        position = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4)).decode("ascii")
    except ValueError:  # not base64, or not ASCII
        position = ""
    if not _POSITION.match(position):
        raise BadParameter(faults=(Fault("cursor", "must be a cursor that an earlier page returned"),))
    return position
