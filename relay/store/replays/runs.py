"""The store's side of planning and running replay jobs: each job has one holder at a time, with a lease."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from relay.audit.actor import actor
from relay.domain.invocation import Purpose
from relay.errors import RelayError
from relay.store.keys.keyspace import SINGLE, Keyspace
from relay.store.ledger.acceptance import chain_args
from relay.store.ledger.invocations import GRACE_MS
from relay.store.ledger.transitions import ready_from
from relay.store.replays.jobs import ReplayState
from relay.store.scripting.scripts import Scripts
from relay.store.server.errors import adding_sentence

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import redis

    from relay.store.ledger.listing import Filter, OutcomeGroups
    from relay.store.ledger.transitions import Ready

#: How long the lease of a job's holder lasts unless it is renewed, in milliseconds.
LEASE_MS: Final = 10_000
#: How many records one run of a script examines: the server does nothing else meanwhile.
LOOKED_AT: Final = 250
#: The reply to a holder that has lost its job, or whose job is over.
LATE: Final = "late"
#: How many bytes of payloads are read at once.
PIECE_BYTES: Final = 1024 * 1024


class ReplayVerdict(StrEnum):
    """What `ReplayRuns.create` did with the originals."""

    ON = "on"
    AGAIN = "again"  # read them again: the job's cursor has moved, or something else has changed
    STALE = "stale"  # a registration has changed since it was read
    PACED = "paced"  # the job's rate allows no more now
    FULL = "full"  # enough of its invocations are unfinished; as they end, they wake the job
    DECIDED = "decided"  # every original is decided
    LATE = "late"  # another holder has the job, or it is not running


@dataclass(frozen=True, slots=True)
class Request:
    """What to replay: the invocations that a filter selects, or those with the given ids.

    A filter with neither states nor ``error`` selects failures, as if ``error`` were true.
    """

    filter: Filter | None = None
    reference_ids: Iterable[str] | None = None  # read once, in pages
    include_uncertain: bool = False
    max: int | None = None
    rate_per_second: float | None = None  # None: as fast as possible

    @property
    def filter_text(self) -> str | bytes:
        """The filter with that default, as scripts read it; empty if there is none."""
        if self.filter is None:
            return ""
        wanted = self.filter
        return (wanted if wanted.states or wanted.error is not None else replace(wanted, error=True)).to_json()


@dataclass(frozen=True, slots=True)
class ClaimedJob:
    """A job that was claimed."""

    state: ReplayState  # planning or running
    plugin: str
    by_hand: bool
    rate_per_second: float | None


@dataclass(frozen=True, slots=True)
class Original:
    """An invocation to be replayed next, as it was read; ``skip`` says why it would be skipped, if it would."""

    reference_id: str
    skip: str | None
    purpose: Purpose
    payload: bytes  # sealed


@dataclass(frozen=True, slots=True)
class NewReplay:
    """The invocation to make from an original; without a reference id if the original would be skipped."""

    reference_id: str = ""
    revision: int | None = None  # None: its webhook is not registered
    timeout_ms: int = 0
    repeatable: bool = False
    payload: bytes = b""  # sealed; empty if the original's could not be opened
    pins: str | None = None  # for a chain
    max_age_ms: int | None = None  # None: the settings' age
    callback: str = ""  # id of the webhook that is triggered at its end


@dataclass(frozen=True, slots=True)
class CreateReply:
    """The verdict, the job's cursor now, how long its rate makes it wait, and which calls may be run now."""

    verdict: ReplayVerdict
    cursor: int
    wait_ms: int
    ready: Ready


@dataclass(frozen=True, slots=True)
class Tally:
    """What a job would do with a piece of its originals."""

    position: str  # of the next piece; empty if there is none
    ended_by: str  # ms: only what was final by this time is replayed
    matched: int
    sample: list[bytes]  # reference ids
    skipped: dict[str, int]
    left_out: dict[str, int]  # selected, but a replay of them has succeeded or is under way


class ReplayRuns:
    """Plans and runs jobs. Every method raises `Unavailable` while the server is away."""

    def __init__(
        self,
        client: redis.Redis,
        *,
        keep_ms: int,
        max_age_ms: int,
        keys: Keyspace = SINGLE,
    ) -> None:
        self._keys = keys
        self._scripts = Scripts(client)
        self._keep_ms = keep_ms
        self._max_age_ms = max_age_ms

    def make(
        self, replay_id: str, plugin: str, request: Request, claim_token: str, *, caller: str, ended_by_ms: int | None
    ) -> None:
        """Write a job to the store in the state `planning`, held by ``claim_token``.

        It replays calls that were final by ``ended_by_ms``; None: by now. Raises `Unavailable`, even if the job was
        written and only the reply was lost; the message names the job.
        """
        args = [
            replay_id,
            plugin,
            claim_token,
            LEASE_MS,
            caller,
            request.filter_text,
            int(request.include_uncertain),
            _text(request.max),
            _text(request.rate_per_second),
            self._keep_ms,
            _text(ended_by_ms),
            actor(),
        ]
        with adding_sentence(f"Replay {replay_id} may have been made: look before you start another one.", RelayError):
            self._scripts.run("replay_make", args, self._keys.root(plugin))

    def add(self, replay_id: str, claim_token: str, piece: int, ids: Sequence[str], *, last: bool) -> tuple[str, int]:
        """Add a numbered piece of originals given by hand; return the job's state (or `LATE`) and how many it has."""
        args = [replay_id, claim_token, LEASE_MS, piece, int(last), *ids]
        state, count = self._scripts.run("replay_add", args, self._keys.root_of_ref(replay_id))
        return state.decode(), int(count)

    def plan(self, replay_id: str, claim_token: str) -> tuple[str, int]:
        """Search the next piece of the records for originals; return the same as `add`."""
        args = [replay_id, claim_token, LEASE_MS, LOOKED_AT]
        state, count = self._scripts.run("replay_plan", args, self._keys.root_of_ref(replay_id))
        return state.decode(), int(count)

    def claim(self, replay_id: str, claim_token: str) -> ClaimedJob | None:
        """Claim a job to plan or run it; return None if it has another holder, or nothing to do."""
        reply = self._scripts.run("replay_claim", [replay_id, claim_token, LEASE_MS], self._keys.root_of_ref(replay_id))
        if not reply:
            return None
        state, plugin, by_hand, rate = (each.decode() for each in reply)
        return ClaimedJob(ReplayState(state), plugin, by_hand == "1", float(rate) if rate else None)

    def leave(self, replay_id: str, claim_token: str, *, after_ms: int) -> Ready:
        """Give a job up until it is woken after ``after_ms``; return it if that is at once."""
        args = [replay_id, claim_token, GRACE_MS, after_ms]
        return ready_from(self._scripts.run("replay_leave", args, self._keys.root_of_ref(replay_id)))

    def read(self, replay_id: str, limit: int) -> tuple[int, list[Original]]:
        """Read a job's cursor, and its next originals."""
        args = [replay_id, limit, PIECE_BYTES]
        cursor, *rows = self._scripts.run("replay_read", args, self._keys.root_of_ref(replay_id))
        originals = [
            Original(
                ref.decode(),
                skip.decode() or None,
                Purpose(webhook.decode(), int(revision or 0), pins.decode() or None),
                payload,
            )
            for ref, skip, webhook, payload, revision, pins in rows
        ]
        return int(cursor), originals

    def create(self, replay_id: str, claim_token: str, cursor: int, news: Sequence[NewReplay]) -> CreateReply:
        """Decide about the originals from ``cursor`` on, and make the invocations that replay them."""
        args: list[Any] = [replay_id, claim_token, LEASE_MS, GRACE_MS, cursor, len(news)]
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
        return CreateReply(ReplayVerdict(verdict.decode()), int(stands), int(wait_ms), ready_from(ready))

    def tally(
        self, plugin: str, request: Request, before: Tally, left: int, groups: OutcomeGroups, ids: Sequence[str] = ()
    ) -> Tally:
        """Tally what a job with a filter would do with the piece after ``before``, up to ``left`` matches.

        Without a filter, tally a job with these ids; ``matched`` tells how many were examined, if not all fit one run.
        """
        args = [plugin, request.filter_text, before.position, LOOKED_AT, before.ended_by]
        args += [int(request.include_uncertain), left, *ids]
        position, ended_by, matched, sample, rows, *reasons = self._scripts.run(
            "replay_tally", args, self._keys.root(plugin)
        )
        groups.add(rows)
        skipped, left_out = (
            {why.decode(): int(count) for why, count in zip(each[::2], each[1::2], strict=True)} for each in reasons
        )
        return Tally(position.decode(), ended_by.decode(), int(matched), sample, skipped, left_out)


def _text(value: float | None) -> str:
    return "" if value is None else str(value)
