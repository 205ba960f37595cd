"""Triggers to write to the store, and the store's verdict on each of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from relay.store.ledger.records import STATES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relay.domain.invocation import Outcome, State


#: A lane's name, and the message to put into it; b"" if the caller publishes it.
LaneMessage: TypeAlias = tuple[str, bytes]


class AcceptVerdict(StrEnum):
    """What `InvocationStore.accept` did with a trigger."""

    ACCEPTED = "accepted"
    KNOWN = "known"  # the Idempotency-Key was used for the same trigger: the answer is that invocation
    KEY_REUSED = "key_reused"  # the Idempotency-Key was used for another trigger
    STALE = "stale"  # the webhook, or one that the chain uses, has been changed or removed since it was read
    OVER_CAPACITY = "over_capacity"
    UNRECORDED = "unrecorded"  # refused and only counted: more than REFUSALS_A_MINUTE were refused this minute


_VERDICTS: Final = {verdict.encode(): verdict for verdict in AcceptVerdict}


@dataclass(frozen=True, slots=True)
class Idempotency:
    """Keyed hashes of an Idempotency-Key and of its trigger: one of each per vault key, newest key first."""

    macs: tuple[str, ...]
    fingerprints: tuple[str, ...]


class NewInvocation(NamedTuple):
    """A trigger that is about to be written to the store."""

    reference_id: str
    plugin: str
    webhook_id: str
    revision: int  # 0 when the webhook is unknown
    lane: str
    timeout_ms: int = 0
    repeatable: bool = False
    payload: bytes = b""  # sealed; empty when refused
    request_bytes: int = 0
    caller: str = ""
    traceparent: str | None = None
    waiter: str | None = None  # the API process that waits for its end
    idempotency: Idempotency | None = None
    refusal: Outcome | None = None  # written as `rejected`, without contents
    pins: str | None = None  # for a chain: the revisions of its steps' webhooks, as JSON
    max_age_ms: int | None = None  # an older call that is not final ends as `expired`; None: the settings' age
    delay_ms: int = 0  # it is not sent before this has passed; its age counts from then on
    callback: str = ""  # id of the webhook that is triggered at its end
    subject: str = ""  # keyed hash of the person it concerns


class Accepted(NamedTuple):
    """The store's answer to one trigger: the verdict, and the invocation that it is about."""

    verdict: AcceptVerdict
    reference_id: str
    state: State | None


def group_args(news: Sequence[NewInvocation], messages: Sequence[LaneMessage], *, max_age_ms: int) -> list[Any]:
    """Return the arguments of ``lua/ledger/accept.lua`` for a group: its triggers, and the lanes' messages.

    ``max_age_ms`` applies to triggers that have no age of their own.
    """
    args: list[Any] = [len(news)]
    for new in news:
        args.extend(_trigger_args(new, max_age_ms))
    for message in messages:
        args.extend(message)
    return args


def _trigger_args(new: NewInvocation, max_age_ms: int) -> list[Any]:
    used = new.idempotency
    keys = () if used is None else tuple(zip(used.macs, used.fingerprints, strict=True))
    return [
        new.reference_id,
        new.plugin,
        new.webhook_id,
        new.revision,
        new.lane,
        new.timeout_ms,
        int(new.repeatable),
        new.payload,
        new.request_bytes,
        new.caller,
        new.traceparent or "",
        new.waiter or "",
        *chain_args(new.pins),
        new.max_age_ms or max_age_ms,
        new.delay_ms,
        new.callback,
        new.subject,
        new.refusal or "",
        len(keys),
        *chain.from_iterable(keys),
    ]


def accepted_from(replies: list[Any]) -> list[Accepted]:
    """Read the answers of ``lua/ledger/accept.lua`` to each trigger."""
    return [
        Accepted(_VERDICTS[verdict], reference_id.decode(), STATES.get(state))
        for verdict, reference_id, state in zip(replies[::3], replies[1::3], replies[2::3], strict=True)
    ]


def chain_args(pins: str | None) -> tuple[str, str]:
    """Return the arguments that say whether an invocation is a chain, and its pins."""
    return ("", "") if pins is None else ("1", pins)
