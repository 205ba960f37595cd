"""The arguments and replies of the transition scripts, as types, and their conversion."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from relay.domain.invocation import FINAL, Purpose, State
from relay.store.ledger.acceptance import chain_args
from relay.store.ledger.records import STATES, attempt_text
from relay.store.server.fields import WHOLE, tell_damage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from relay.domain.invocation import Attempt, Outcome

#: ``(reference id, lane)`` of calls that may be run now: by this process if it has capacity, otherwise by any worker
#: that takes the id from the lane's list.
Ready: TypeAlias = "tuple[tuple[str, str], ...]"

#: The verdicts of the scripts on each call.
_CLAIMED: Final = frozenset({b"granted", b"parked", b"skipped", b"ended"})
_SETTLED: Final = frozenset({b"settled", b"late"})
_NONSENSE: Final = "a script replied with other verdicts than it can give"


@dataclass(frozen=True, slots=True)
class NewStep:
    """An invocation that a chain's step creates; the rest of its record comes from its parent."""

    reference_id: str
    webhook_id: str
    revision: int
    timeout_ms: int
    repeatable: bool
    payload: bytes  # sealed
    request_bytes: int
    pins: str | None = None  # if the step is itself a chain
    max_age_ms: int | None = None  # None: the settings' age
    callback: str = ""  # id of the webhook that is triggered at its end


class NextStep(NamedTuple):
    """The next step of a chain. ``made`` is how many calls its steps had made when this was decided."""

    reference_id: str  # the chain's
    token: str
    made: int
    step: int
    news: Sequence[NewStep]
    secrets: bytes = b""  # sealed: the texts that the chain hides in the answers of this step


class ChainEnd(NamedTuple):
    """The end of a chain, after its steps had made so many calls."""

    made: int
    settlement: Settlement

    @property
    def reference_id(self) -> str:
        """The chain's reference id."""
        return self.settlement.reference_id


class CallRecord(NamedTuple):
    """The data that a worker reads before it prepares a call. ``current_revision`` is None for a removed webhook."""

    reference_id: str
    state: State
    plugin: str
    webhook_id: str
    revision: int
    current_revision: int | None
    payload: bytes
    traceparent: str | None
    timeout_ms: int
    lane: str
    tries: int = 0  # attempts so far
    losses: int = 0  # lost leases since its last progress
    full: bool = False  # its webhook had no permit left when it was read: it will be parked; no payload unless a chain
    pins: str | None = None  # for a chain
    made: int = 0  # for a chain: how many calls its steps have made
    parent: str | None = None  # for a step
    step: int | None = None  # for a step: its number in its chain

    @property
    def purpose(self) -> Purpose:
        """The purpose that its payload is sealed for."""
        return Purpose(self.webhook_id, self.revision, self.pins, self.parent, self.step)

    @property
    def was_lost(self) -> bool:
        """Whether a worker that had claimed it was lost, so that it is unknown whether the request was sent."""
        return self.losses > 0 or self.state is State.SENDING


class Settlement(NamedTuple):
    """The outcome of a claimed call."""

    reference_id: str
    claim_token: str
    state: State
    outcome: Outcome
    status: int | None
    error: bool | None
    attempt: Attempt | None
    response_bytes: int = 0
    masked: int = 0
    result: bytes = b""  # sealed; empty for none
    delay_ms: int = 0  # for the state `retrying`: the earliest time of the next attempt, from now
    raw: bytes = b""  # sealed: the part of a step's answer that its chain needs; empty for none
    reason: str = ""  # for operators: why a chain could not continue; quotes no data
    contacted: bool | None = None  # whether the endpoint could be contacted; None if that was not tried
    capacity: int | None = None  # how many more calls of its webhook the worker could hold; None: unknown


@dataclass(frozen=True, slots=True)
class Claimed:
    """The answer to a claim or an advance: the server's time, which ids were granted and parked, and what may run now.

    ``found`` is what `InvocationStore.read` would return for the first of what may run, which saves a round trip.
    """

    now_ms: int
    granted: frozenset[str]
    parked: frozenset[str]
    ready: Ready
    ended: Mapping[str, tuple[State, str]] = field(default_factory=dict, compare=False)  # fewer when repeated
    # How long calls that are sent for the first time have waited; a repeated claim does not return this again.
    waited_ms: Mapping[str, int] = field(default_factory=dict, compare=False)
    found: tuple[CallRecord, ...] = ()  # for an advance


class Settled(NamedTuple):
    """The answer to a settle: for each settlement whether it counted (False: too late), and what may run now.

    ``found`` is what `InvocationStore.read` would return for the first of these calls, which saves a round trip.
    """

    verdicts: tuple[bool, ...]
    ready: Ready
    found: tuple[CallRecord, ...] = ()


def call_record_from(reference_id: str, text: bytes, payload: bytes) -> CallRecord:
    """Read one call's row, as ``lua/lib/rows.lua`` writes it."""
    values = text.decode().split(" ", 14)
    state, plugin, webhook, revision, current, traceparent, timeout, lane, tries, losses, full, *of_chain = values
    chain, parent, step, pins = of_chain
    return CallRecord(
        reference_id,
        State(state),
        plugin,
        webhook,
        int(revision),
        int(current) if current else None,
        payload,
        traceparent or None,
        int(timeout),
        lane,
        int(tries),
        int(losses),
        bool(full),
        pins if chain else None,
        int(chain or 0),
        parent or None,
        int(step) if step else None,
    )


def settle_args(settlement: Settlement) -> list[Any]:
    """Return one settlement's arguments, in the order of ``lua/ledger/settle.lua``."""
    attempt = settlement.attempt
    return [
        settlement.reference_id,
        settlement.claim_token,
        *_end_args(settlement),
        "" if attempt is None else attempt_text(attempt),
        settlement.response_bytes,
        settlement.masked,
        settlement.result,
        settlement.delay_ms,
        "" if settlement.contacted is None else int(settlement.contacted),
        settlement.raw,
        settlement.reason,
        "" if settlement.capacity is None else settlement.capacity,
    ]


def advance_args(each: NextStep | ChainEnd, max_age_ms: int) -> list[Any]:
    """Return one chain's arguments, in the order of ``lua/ledger/advance.lua``."""
    if isinstance(each, NextStep):
        head = [each.token, each.reference_id, each.made, each.step, each.secrets, len(each.news)]
        return head + [value for new in each.news for value in _step_args(new, max_age_ms)]
    end = each.settlement
    head = [end.claim_token, end.reference_id, each.made, ""]
    return [*head, *_end_args(end), end.masked, end.result, end.raw, end.reason]


def _end_args(end: Settlement) -> list[Any]:
    status, error = end.status, end.error
    return [end.state, end.outcome, "" if status is None else status, "" if error is None else int(error)]


def _step_args(new: NewStep, max_age_ms: int) -> list[Any]:
    return [
        new.reference_id,
        new.webhook_id,
        new.revision,
        new.timeout_ms,
        int(new.repeatable),
        new.payload,
        new.request_bytes,
        *chain_args(new.pins),
        new.max_age_ms or max_age_ms,
        new.callback,
    ]


def ready_from(flat: Sequence[bytes]) -> Ready:
    """Read ids and lanes from a script's flat list."""
    texts = [item.decode() for item in flat]
    return tuple(zip(texts[::2], texts[1::2], strict=True))


def found_from(reference_ids: Iterable[str], rows: Sequence[bytes]) -> Iterator[CallRecord]:
    """Yield the calls among these ids that are not final; the rows may cover only the first of the ids.

    A damaged record is left out: it no longer says what to send.
    """
    for reference_id, text, payload in zip(reference_ids, rows[::2], rows[1::2], strict=False):
        try:
            record = call_record_from(reference_id, text, payload) if text else None
        except ValueError:
            tell_damage(reference_id, WHOLE)
            continue
        if record is not None and record.state not in FINAL:
            yield record


def settled_from(count: int, reply: list[Any]) -> Settled:
    """Read the reply of ``lua/ledger/settle.lua`` to so many settlements."""
    verdicts, flat, rows = reply
    if len(verdicts) != count or not _SETTLED.issuperset(verdicts):
        raise ValueError(_NONSENSE)
    ready = ready_from(flat)
    return Settled(tuple(verdict == b"settled" for verdict in verdicts), ready, _found_among(ready, rows))


def _found_among(ready: Ready, rows: Sequence[bytes]) -> tuple[CallRecord, ...]:
    return tuple(found_from((ref for ref, _ in ready), rows))


def claimed_from(reference_ids: Sequence[str], reply: list[Any]) -> Claimed:
    """Read the reply of ``lua/ledger/claim.lua`` or ``lua/ledger/advance.lua`` for these ids."""
    now, verdicts, flat, *more = reply
    if not _CLAIMED.issuperset(verdicts[::3]):
        raise ValueError(_NONSENSE)
    now_ms = int(now)
    ready = ready_from(flat)
    said = list(zip(reference_ids, verdicts[::3], verdicts[1::3], verdicts[2::3], strict=True))
    return Claimed(
        now_ms,
        granted=frozenset(ref for ref, verdict, _, _ in said if verdict == b"granted"),
        parked=frozenset(ref for ref, verdict, _, _ in said if verdict == b"parked"),
        ready=ready,
        waited_ms={ref: now_ms - int(since) for ref, verdict, _, since in said if verdict == b"granted" and since},
        ended={ref: (STATES[state], why.decode()) for ref, verdict, state, why in said if verdict == b"ended"},
        found=_found_among(ready, more[0]) if more else (),
    )


def claimed_together(claims: Sequence[Claimed]) -> Claimed:
    """Join the answers of several partitions."""
    return Claimed(
        max((each.now_ms for each in claims), default=0),
        granted=frozenset().union(*(each.granted for each in claims)),
        parked=frozenset().union(*(each.parked for each in claims)),
        ready=tuple(pair for each in claims for pair in each.ready),
        waited_ms={ref: waited for each in claims for ref, waited in each.waited_ms.items()},
        ended={ref: end for each in claims for ref, end in each.ended.items()},
        found=tuple(record for each in claims for record in each.found),
    )


def settled_together(answers: Sequence[Settled], places: Sequence[int]) -> Settled:
    """Join the answers of several partitions; ``places`` has the position of each verdict among all of them."""
    if len(answers) == 1:
        return answers[0]
    placed = dict(zip(places, (verdict for each in answers for verdict in each.verdicts), strict=True))
    return Settled(
        tuple(placed[place] for place in range(len(places))),
        tuple(pair for each in answers for pair in each.ready),
        tuple(found for each in answers for found in each.found),
    )
