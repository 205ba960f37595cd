"""Plans, starts and steers replay jobs. Workers run them (`relay.replay.running`)."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import orjson

from relay.domain.reference_id import new_reference_id, reference_time_ms
from relay.errors import BadParameter, Conflict, NotFound, StoreFault, Unavailable
from relay.store.ledger.listing import Filter, OutcomeGroups
from relay.store.replays.jobs import ReplayState
from relay.store.replays.runs import LATE, Request, Tally
from relay.store.server.errors import adding_sentence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from relay.domain.invocation import Invocation
    from relay.store.ledger.listing import Listing, OutcomeGroup
    from relay.store.ledger.transitions import Ready
    from relay.store.replays.jobs import ReplayJob, ReplayStore, Verb
    from relay.store.replays.runs import ReplayRuns

#: A job of at most this many originals is planned before `start` returns; workers plan larger ones.
PLANNED_AT_ONCE: Final = 10_000
#: How long `start` plans at most, in seconds: there may be few originals among many records.
PLANNING_S: Final = 5.0
MIN_RATE: Final = 0.001  # per second
MAX_RATE: Final = 10_000.0
#: The largest limit for how many invocations a replay takes.
MAX_COUNT: Final = 1_000_000_000
SAMPLE: Final = 10  # rows
PLAN_KEPT_S: Final = 24 * 3600
_PIECE: Final = 250  # how many ids one script takes
_NO_LIMIT: Final = 1 << 53
_BEGINNING: Final = Tally("", "", 0, [], {}, {})


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """What a job would do if it were started now; nothing is started."""

    plan_id: str | None  # for `start_planned`, valid for a day; None if ids were given
    matched: int
    skipped: int
    skipped_reasons: Mapping[str, int]
    left_out: Mapping[str, int]  # selected but not matched, by Skip: those whose replay succeeded or is under way
    breakdown: list[OutcomeGroup]  # of the matching invocations
    sample: list[Invocation]  # the newest
    estimated_s: float | None  # at the job's rate; None without one


class Replays:
    """Operations on replay jobs, for API and commands. Every method raises `Unavailable` while the store is away."""

    def __init__(
        self, store: ReplayStore, runs: ReplayRuns, listing: Listing, publish: Callable[[Ready], object]
    ) -> None:
        self._store = store
        self._runs = runs
        self._listing = listing
        self._publish = publish

    def plan(self, plugin: str, request: Request) -> ReplayPlan:
        """Return what a job would do, and keep the plan; raises `BadParameter` like `start`."""
        self._check(plugin, request)
        groups, sample, matched = OutcomeGroups(), list[bytes](), 0
        skipped, left_out = Counter[str](), Counter[str]()
        tally = _BEGINNING
        for tally in self._tallies(plugin, request, groups):
            matched += tally.matched
            sample = [*sample, *tally.sample][:SAMPLE]
            skipped.update(tally.skipped)
            left_out.update(tally.left_out)
        skips = skipped.total()
        return ReplayPlan(
            plan_id=self._keep(plugin, request, tally.ended_by),
            matched=matched,
            skipped=skips,
            skipped_reasons=skipped,
            left_out=left_out,
            breakdown=groups.all(),
            sample=self._listing.records(sample),
            estimated_s=None if request.rate_per_second is None else (matched - skips) / request.rate_per_second,
        )

    def start(self, plugin: str, request: Request, *, caller: str) -> ReplayJob:
        """Create a job and let workers run it; its ``matched`` is None if workers still have to plan it.

        Raises:
            BadParameter: not exactly one of a filter and ids is given; or one of the ids is not a reference id; or the
                filter names a webhook that this plugin does not know.
        """
        self._check(plugin, request)
        return self._start(plugin, request, caller, None)

    def start_planned(
        self, plugin: str, plan_id: str, *, caller: str, rate_per_second: float | None = None
    ) -> ReplayJob:
        """Start a planned job, for the calls that were final when it was planned.

        Raises `NotFound` if there is no such plan or it is over a day old; `BadParameter` if the rate is out of range.
        """
        text = self._store.plan_of(plugin, plan_id)
        try:
            planned = orjson.loads(text)
            request = Request(
                filter=Filter.from_json(planned["filter"]),
                include_uncertain=planned["uncertain"],
                max=planned["max"],
                rate_per_second=planned["rate"] if rate_per_second is None else rate_per_second,
            )
            ended_by_ms = int(planned["endedBy"])
            _check(request)
        except (AttributeError, LookupError, TypeError, ValueError):
            raise Conflict("The plan is damaged: plan the replay again.") from None
        return self._start(plugin, request, caller, ended_by_ms)

    def is_plan(self, plugin: str, plan_id: str) -> bool:
        """Return whether the plugin has a plan with that id that is at most a day old."""
        try:
            self._store.plan_of(plugin, plan_id)
        except NotFound:
            return False
        return True

    def unknown(self, plugin: str, reference_ids: Iterable[str]) -> Sequence[str]:
        """Return those of these ids that belong to no recorded invocation of the plugin."""
        known = {
            each.reference_id
            for each in self._listing.records(ref.encode() for ref in reference_ids)
            if each.plugin == plugin
        }
        return [ref for ref in reference_ids if ref not in known]

    def get(self, plugin: str, replay_id: str) -> ReplayJob:
        """Read a job; raises `NotFound`."""
        return self._store.get(plugin, replay_id)

    def list(self, plugin: str, *, limit: int = 50) -> list[ReplayJob]:
        """List a plugin's jobs, newest first."""
        return self._store.list(plugin, limit=limit)

    def pause(self, plugin: str, replay_id: str) -> ReplayJob:
        """Pause a job. Raises `NotFound`; `Conflict` if it is over, or still being planned."""
        return self._steer(plugin, replay_id, "pause")

    def resume(self, plugin: str, replay_id: str) -> ReplayJob:
        """Resume a job. Raises `NotFound`; `Conflict` if it is over."""
        return self._steer(plugin, replay_id, "resume")

    def cancel(self, plugin: str, replay_id: str) -> ReplayJob:
        """Cancel a job: its unsent invocations are cancelled, its other originals skipped. Raises like `resume`."""
        return self._steer(plugin, replay_id, "cancel")

    def _steer(self, plugin: str, replay_id: str, verb: Verb) -> ReplayJob:
        job, ready = self._store.steer(plugin, replay_id, verb)
        self._publish(ready)
        return job

    def _check(self, plugin: str, request: Request) -> None:
        _check(request)
        if request.filter is not None:
            self._listing.check_webhook(plugin, request.filter)

    # -- planning -----------------------------------------------------------------------------------------------

    def _tallies(self, plugin: str, request: Request, groups: OutcomeGroups) -> Iterator[Tally]:
        left, tally = request.max or _NO_LIMIT, _BEGINNING
        if request.filter is None:
            for piece in _pieces(request, set()):
                examined = 0
                while examined < len(piece):
                    ids = piece[examined:]
                    tally = self._runs.tally(plugin, request, tally, len(ids), groups, ids)
                    yield tally
                    examined += tally.matched
            return
        while left > 0:
            tally = self._runs.tally(plugin, request, tally, left, groups)
            yield tally
            left -= tally.matched
            if not tally.position:
                return

    def _keep(self, plugin: str, request: Request, ended_by: str) -> str | None:
        if request.filter is None:
            return None
        plan_id = new_reference_id(plugin)
        planned: dict[str, Any] = {
            "filter": request.filter.to_json().decode(),
            "uncertain": request.include_uncertain,
            "max": request.max,
            "rate": request.rate_per_second,
            "endedBy": int(ended_by),
        }
        self._store.save_plan(plugin, plan_id, orjson.dumps(planned), keep_s=PLAN_KEPT_S)
        return plan_id

    # -- starting -----------------------------------------------------------------------------------------------

    def _start(self, plugin: str, request: Request, caller: str, ended_by_ms: int | None) -> ReplayJob:
        replay_id, claim_token = new_reference_id(plugin), uuid4().hex
        self._runs.make(replay_id, plugin, request, claim_token, caller=caller, ended_by_ms=ended_by_ms)
        told = f"Replay {replay_id} was made nevertheless: do not start another one."
        with adding_sentence(told, Unavailable, StoreFault):
            in_time = True
            if request.filter is None:
                in_time = self._add(plugin, replay_id, claim_token, request)
            else:
                self._plan_briefly(replay_id, claim_token)
            made = self._store.get(plugin, replay_id)
            self._publish(self._runs.leave(replay_id, claim_token, after_ms=0))
        if not in_time:
            raise Unavailable("The reference ids came too slowly: the replay was ended.")
        return made

    def _add(self, plugin: str, replay_id: str, claim_token: str, request: Request) -> bool:
        """Add the given ids; return False if the job was ended before all of them came."""
        number = 0
        try:
            for number, piece in enumerate(_pieces(request, None), 1):
                if self._runs.add(replay_id, claim_token, number - 1, piece, last=False)[0] == LATE:
                    return False
        except BadParameter:
            self.cancel(plugin, replay_id)
            raise
        return self._runs.add(replay_id, claim_token, number, [], last=True)[0] != LATE

    def _plan_briefly(self, replay_id: str, claim_token: str) -> None:
        """Plan a job for as long as a caller may wait."""
        state, count, until_s = str(ReplayState.PLANNING), 0, time.monotonic() + PLANNING_S
        while state == ReplayState.PLANNING and count <= PLANNED_AT_ONCE and time.monotonic() < until_s:
            state, count = self._runs.plan(replay_id, claim_token)


def _check(request: Request) -> None:
    if (request.filter is None) == (request.reference_ids is None):
        raise BadParameter("A replay takes either a filter or reference ids.")
    rate = request.rate_per_second
    if rate is not None and not MIN_RATE <= rate <= MAX_RATE:
        raise BadParameter(f"ratePerSecond must be at least {MIN_RATE:g} and at most {MAX_RATE:g}.")
    if request.max is not None and request.max < 1:
        raise BadParameter("max must be at least 1.")


def _pieces(request: Request, seen: set[str] | None) -> Iterator[list[str]]:
    """Yield the given ids in lists, checked; with ``seen``, which remembers them, each id only once."""
    ids = iter(request.reference_ids or ())
    left = request.max or _NO_LIMIT
    while left > 0 and (piece := list(islice(ids, _PIECE))):
        if any(reference_time_ms(each) is None for each in piece):
            raise BadParameter("The list holds something that is not a reference id.")
        if seen is not None:
            piece = [each for each in dict.fromkeys(piece) if each not in seen][:left]
            seen.update(piece)
            left -= len(piece)
        if piece:
            yield piece
