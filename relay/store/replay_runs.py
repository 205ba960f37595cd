"""Replay jobs as those see them who plan and run them: one holder at a time, with a lease like a call's."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from relay.audit.actor import actor
from relay.errors import RelayError
from relay.invocation import Purpose
from relay.store.acceptance import chain_args
from relay.store.invocations import GRACE_MS
from relay.store.keyspace import SINGLE, Keyspace
from relay.store.limits import DEFAULT_AGE_MS
from relay.store.replays import ReplayState
from relay.store.scripts import Scripts
from relay.store.server_errors import adding
from relay.store.transitions import ready_from

if TYPE_CHECKING:
    from collections.abc import Sequence

    import redis

    from relay.store.listing import Filter, OutcomeGroups
    from relay.store.transitions import Ready

#: A holder that has not been heard of for so long is gone.
LEASE_MS: Final = 10_000
#: Records that one script looks at, which holds the server up meanwhile.
LOOKED_AT: Final = 250
#: Said of a job that is somebody else's by now, or is over.
LATE: Final = "late"
#: Payloads that are read at once.
PIECE_BYTES: Final = 1024 * 1024


class ReplayVerdict(StrEnum):
    """What became of the originals brought to `ReplayRuns.create`."""

    ON = "on"
    AGAIN = "again"  # they are to be read again: the job stands elsewhere, or something has changed
    STALE = "stale"  # a registration has changed since it was read
    PACED = "paced"  # the rate allows no more now
    FULL = "full"  # enough are unfinished; whoever ends them wakes the job
    DECIDED = "decided"  # there are no more
    LATE = "late"  # somebody else has the job, or it does not run


@dataclass(frozen=True, slots=True)
class Taken:
    """A job that was claimed."""

    state: ReplayState  # planning or running
    plugin: str
    by_hand: bool
    rate_per_second: float | None


@dataclass(frozen=True, slots=True)
class Original:
    """An invocation whose turn it is, as it was read; ``skip`` says why it would be skipped."""

    reference_id: str
    skip: str | None
    purpose: Purpose
    payload: bytes  # sealed


@dataclass(frozen=True, slots=True)
class NewReplay:
    """What may be made of an original. One that would be skipped has no reference id, but a place."""

    reference_id: str = ""
    revision: int | None = None  # None: its webhook is not registered
    timeout_ms: int = 0
    repeatable: bool = False
    payload: bytes = b""  # sealed; empty where the old one could not be opened
    pins: str | None = None  # of a chain
    max_age_ms: int | None = None  # None: as the settings say
    callback: str = ""  # id of the webhook that is called back at its end


@dataclass(frozen=True, slots=True)
class Created:
    """What was decided, where the job stands now, how long its rate makes it wait, and what may be run."""

    verdict: ReplayVerdict
    place: int
    wait_ms: int
    ready: Ready


@dataclass(frozen=True, slots=True)
class Tally:
    """What a job would do with a piece of what is meant."""

    position: str  # of the next piece, empty where there is none
    ended_by: str  # ms
    matched: int
    sample: list[bytes]  # reference ids
    skipped: dict[str, int]


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job on its way into the store."""

    replay_id: str
    plugin: str
    caller: str
    filter: Filter | None  # None: ids are given by hand
    include_uncertain: bool
    max: int | None
    rate_per_second: float | None
    ended_by_ms: int | None = None  # None: now


class ReplayRuns:
    """Plans and runs jobs. Every method raises `Unavailable` while the server is away."""

    def __init__(
        self,
        client: redis.Redis,
        *,
        keep_ms: int,
        max_age_ms: int = DEFAULT_AGE_MS,
        keys: Keyspace = SINGLE,
        replicas: int = 0,
    ) -> None:
        self._keys = keys
        self._scripts = Scripts(client, replicas)
        self._keep_ms = keep_ms
        self._max_age_ms = max_age_ms

    def make(self, job: NewJob, claim_token: str) -> None:
        """Write a job down, in the state `planning`; ``claim_token`` holds it.

        Raises `Unavailable`, also where it was written and the reply is lost: the message names the job.
        """
        root = self._keys.root(job.plugin)
        args = [
            job.replay_id,
            job.plugin,
            claim_token,
            LEASE_MS,
            job.caller,
            "" if job.filter is None else job.filter.to_json(),
            int(job.include_uncertain),
            _text(job.max),
            _text(job.rate_per_second),
            self._keep_ms,
            _text(job.ended_by_ms),
            actor(),
        ]
        with adding(f"If replay {job.replay_id} was made all the same, do not start another one.", RelayError):
            self._scripts.run("replay_make", args, root)

    def add(self, replay_id: str, claim_token: str, piece: int, ids: Sequence[str], *, last: bool) -> tuple[str, int]:
        """Add originals given by hand, in numbered pieces; returns the job's state (or `LATE`) and their number."""
        args = [replay_id, claim_token, LEASE_MS, piece, int(last), *ids]
        state, count = self._scripts.run("replay_add", args, self._keys.root_of_ref(replay_id))
        return state.decode(), int(count)

    def plan(self, replay_id: str, claim_token: str) -> tuple[str, int]:
        """Look for originals, a piece of the way; returns as `add`."""
        args = [replay_id, claim_token, LEASE_MS, LOOKED_AT]
        state, count = self._scripts.run("replay_plan", args, self._keys.root_of_ref(replay_id))
        return state.decode(), int(count)

    def claim(self, replay_id: str, claim_token: str) -> Taken | None:
        """Take a job to plan or run it; None where there is nothing to do or somebody does it."""
        reply = self._scripts.run("replay_claim", [replay_id, claim_token, LEASE_MS], self._keys.root_of_ref(replay_id))
        if not reply:
            return None
        state, plugin, by_hand, rate = (each.decode() for each in reply)
        return Taken(ReplayState(state), plugin, by_hand == "1", float(rate) if rate else None)

    def leave(self, replay_id: str, claim_token: str, *, after_ms: int) -> Ready:
        """Let go of a job, which is looked at again after so long; returns it if that is at once."""
        args = [replay_id, claim_token, GRACE_MS, after_ms]
        return ready_from(self._scripts.run("replay_leave", args, self._keys.root_of_ref(replay_id)))

    def read(self, replay_id: str, limit: int) -> tuple[int, list[Original]]:
        """Read where a job stands, and its next originals."""
        args = [replay_id, limit, PIECE_BYTES]
        place, *rows = self._scripts.run("replay_read", args, self._keys.root_of_ref(replay_id))
        originals = [
            Original(
                ref.decode(),
                skip.decode() or None,
                Purpose(webhook.decode(), int(revision or 0), pins.decode() or None),
                payload,
            )
            for ref, skip, webhook, payload, revision, pins in rows
        ]
        return int(place), originals

    def create(self, replay_id: str, claim_token: str, place: int, news: Sequence[NewReplay]) -> Created:
        """Decide what becomes of the originals from that place on, and make the invocations."""
        args: list[Any] = [replay_id, claim_token, LEASE_MS, GRACE_MS, place, len(news)]
        for new in news:
            args.extend(
                [
                    new.reference_id,
                    _text(new.revision),
                    new.timeout_ms,
                    int(new.repeatable),
                    new.payload,
                    *chain_args(new.pins),
                    new.max_age_ms or self._max_age_ms,
                    new.callback,
                ]
            )
        root = self._keys.root_of_ref(replay_id)
        verdict, stands, wait_ms, ready = self._scripts.run("replay_create", args, root)
        return Created(ReplayVerdict(verdict.decode()), int(stands), int(wait_ms), ready_from(ready))

    def tally(
        self, plugin: str, wanted: Filter, before: Tally, left: int, groups: OutcomeGroups, *, uncertain: bool
    ) -> Tally:
        """Tally what a job of this filter would do, a piece of the way on from ``before``, of at most ``left``."""
        args = [plugin, wanted.to_json(), before.position, LOOKED_AT, before.ended_by, int(uncertain), left]
        return _tally_from(self._scripts.run("replay_tally", args, self._keys.root(plugin)), groups)

    def tally_ids(
        self, plugin: str, ids: Sequence[str], before: Tally, groups: OutcomeGroups, *, uncertain: bool
    ) -> Tally:
        """Tally what a job of these ids would do, as `tally` says it of a filter."""
        args = [plugin, "", "", LOOKED_AT, before.ended_by, int(uncertain), len(ids), *ids]
        return _tally_from(self._scripts.run("replay_tally", args, self._keys.root(plugin)), groups)


def _text(value: float | None) -> str:
    return "" if value is None else str(value)


def _tally_from(reply: list[Any], groups: OutcomeGroups) -> Tally:
    position, ended_by, matched, sample, rows, reasons = reply
    groups.add(rows)
    skipped = {why.decode(): int(count) for why, count in zip(reasons[::2], reasons[1::2], strict=True)}
    return Tally(position.decode(), ended_by.decode(), int(matched), sample, skipped)
