"""Reads replay jobs, and lets operators pause, resume and cancel them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Literal

from relay.audit.actor import actor
from relay.domain.reference_id import reference_time_ms
from relay.errors import Conflict, NotFound
from relay.store.keys.keyspace import SINGLE, Keyspace
from relay.store.keys.names import key_in
from relay.store.ledger.invocations import GRACE_MS
from relay.store.ledger.listing import Filter
from relay.store.ledger.transitions import ready_from
from relay.store.scripting.scripts import Scripts
from relay.store.server.errors import store_errors
from relay.store.server.fields import MOST, StoredFields, number_of
from relay.store.server.replies import replies_to

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import redis

    from relay.store.ledger.limits import Limits
    from relay.store.ledger.transitions import Ready

Verb = Literal["pause", "resume", "cancel"]
_SKIPPED: Final = "skipped:"


class ReplayState(StrEnum):
    """The state of a job."""

    PLANNING = "planning"  # its originals are being collected
    RUNNING = "running"
    PAUSED = "paused"
    CANCELLED = "cancelled"  # its unsent invocations were cancelled, the remaining originals skipped
    DONE = "done"  # matched = delivered + failed + skipped


class Skip(StrEnum):
    """Why an original was not sent again."""

    REPLAYED = "replayed"  # a replay of it succeeded, or this very job has made one
    BEING_REPLAYED = "being_replayed"
    UNCERTAIN = "uncertain"
    EXPIRED = "expired"  # record or contents are older than their retention, or no such invocation exists
    REFUSED = "refused"  # the API refused it and kept none of its contents
    FORGOTTEN = "forgotten"
    NOT_FINAL = "not_final"  # or became final only after the job was made
    CHAIN_STEP = "chain_step"
    UNREADABLE = "unreadable"  # its contents do not open with this process's keys
    CANCELLED = "cancelled"  # the job was cancelled before it was replayed
    RESTORED = (
        "restored"  # the store was restored from a backup before the job was over: it may have been replayed since
    )


@dataclass(frozen=True, slots=True)
class ReplayJob:
    """The present state of a job. Once it is done, matched = delivered + failed + skipped."""

    replay_id: str
    plugin: str
    state: ReplayState | None  # None: it cannot be read
    matched: int | None  # None while planning
    started: int
    delivered: int  # ended with an answer that is not an error
    failed: int  # ended in any other way
    skipped: int
    skipped_reasons: Mapping[str, int]  # by Skip
    rate_per_second: float | None  # None: as fast as possible
    include_uncertain: bool
    max: int | None
    created_at_ms: int
    finished_at_ms: int | None
    caller: str | None = None  # id of the API key that made it; `cli` for a command
    filter: Filter = field(default_factory=Filter)
    by_hand: bool = False  # made from given reference ids, not from a filter
    damaged: tuple[str, ...] = ()  # the names of fields that cannot be read, as for an `Invocation`

    @property
    def over(self) -> bool:
        """Whether the job has ended: every original is decided, or it was cancelled, and all its calls are final."""
        return self.finished_at_ms is not None


class ReplayStore:
    """Replay jobs of all plugins. Every method raises `Unavailable` while the server is away."""

    def __init__(self, client: redis.Redis, limits: Limits, keys: Keyspace = SINGLE) -> None:
        self._keys = keys
        self._client: Any = client
        self._scripts = Scripts(client)
        self._limits = limits

    def get(self, plugin: str, replay_id: str) -> ReplayJob:
        """Read a job of a plugin; raises `NotFound`."""
        if reference_time_ms(replay_id) is None:
            raise NotFound
        key = key_in(self._keys.root_of_ref(replay_id), "replay", replay=replay_id)
        (fields,) = replies_to(self._client, [("HGETALL", key)])
        job = _job_from(replay_id, key, fields) if fields else None
        if job is None or job.plugin != plugin:
            raise NotFound
        return job

    def list(self, plugin: str, *, limit: int = 50) -> list[ReplayJob]:
        """List a plugin's jobs, newest first."""
        index = self._keys.of_plugin("replays", plugin)
        with store_errors():
            ids = self._client.zrevrange(index, 0, limit - 1)
        names = [replay_id.decode("utf-8", "backslashreplace") for replay_id in ids]
        keys = [key_in(self._keys.root_of_ref(name), "replay", replay=name) for name in names]
        found = list(zip(names, keys, replies_to(self._client, [("HGETALL", key) for key in keys]), strict=True))
        gone = [replay_id for replay_id, (_, _, fields) in zip(ids, found, strict=True) if not fields]
        if gone:
            with store_errors():
                self._client.zrem(index, *gone)
        jobs = [_job_from(*each) for each in found if each[2]]
        return jobs if not gone or len(ids) < limit else self.list(plugin, limit=limit)

    def open_calls(self, replay_id: str) -> Sequence[str]:
        """Return the calls that a job made and that are not final."""
        key = key_in(self._keys.root_of_ref(replay_id), "replay_open", replay=replay_id)
        with store_errors():
            return sorted(ref.decode() for ref in self._client.smembers(key))

    def save_plan(self, plugin: str, plan_id: str, text: bytes, *, keep_s: int) -> None:
        """Store a plan for ``keep_s`` seconds."""
        key = self._keys.of_plugin("replay_plan", plugin, plan=plan_id)
        self._scripts.write(self._keys.root(plugin), "SET", key, text, "EX", keep_s)

    def plan_of(self, plugin: str, plan_id: str) -> bytes:
        """Read a plan; raises `NotFound`."""
        if reference_time_ms(plan_id) is None:
            raise NotFound
        with store_errors():
            text: bytes | None = self._client.get(self._keys.of_plugin("replay_plan", plugin, plan=plan_id))
        if text is None:
            raise NotFound
        return text

    def steer(self, plugin: str, replay_id: str, verb: Verb) -> tuple[ReplayJob, Ready]:
        """Pause, resume or cancel a job; return it, and the calls that the caller must publish.

        Raises `NotFound`; `Conflict` if the job is over, or is still being planned and so cannot be paused.
        """
        if reference_time_ms(replay_id) is None:
            raise NotFound
        args = [GRACE_MS, *self._limits.retention_args, plugin, replay_id, verb, actor()]
        verdict, state, ready = self._scripts.run("replay_steer", args, self._keys.root_of_ref(replay_id))
        if verdict == b"refused":
            raise Conflict(f"The replay is {state.decode()}: it cannot be {_PAST[verb]}.")
        return self.get(plugin, replay_id), ready_from(ready)


_PAST: Final[Mapping[Verb, str]] = {"pause": "paused", "resume": "resumed", "cancel": "cancelled"}


def _job_from(replay_id: str, key: str, fields: Mapping[bytes, bytes] | Exception) -> ReplayJob:
    job = StoredFields(key, fields)
    number = job.number
    return replace(
        ReplayJob(
            replay_id=replay_id,
            plugin=job.needed("plugin", str) or "",
            state=job.needed("state", ReplayState),
            matched=number("matched"),
            started=number("started") or 0,
            delivered=number("delivered") or 0,
            failed=number("failed") or 0,
            skipped=number("skipped") or 0,
            skipped_reasons={why: count for why in Skip if (count := number(_SKIPPED + why))},
            rate_per_second=job.get("rate", _rate),
            include_uncertain=job.text("uncertain") == "1",
            max=number("max"),
            created_at_ms=job.needed("createdAt", number_of) or reference_time_ms(replay_id) or 0,
            finished_at_ms=number("finishedAt"),
            caller=job.text("caller"),
            filter=job.get("filter", Filter.from_json) or Filter(),
            by_hand=job.text("filter") is None,
        ),
        damaged=tuple(job.damaged),
    )


def _rate(text: str) -> float:
    rate = float(text)
    if not 0 < rate <= MOST:
        raise ValueError("a rate out of range")
    return rate
