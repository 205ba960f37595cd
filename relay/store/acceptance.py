"""A trigger on its way into the store, and what the store says of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from relay.store.records import STATES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relay.invocation import Outcome, State


#: A lane, and what is put there.
LaneMessage: TypeAlias = tuple[str, bytes]


class AcceptVerdict(StrEnum):
    """What became of a trigger brought to `InvocationStore.accept_and_publish`."""

    ACCEPTED = "accepted"
    KNOWN = "known"  # the Idempotency-Key was used for the same trigger: that invocation
    KEY_REUSED = "key_reused"  # the Idempotency-Key was used for another trigger
    STALE = "stale"  # the webhook was changed or removed since its shape was read
    OVER_CAPACITY = "over_capacity"
    UNRECORDED = "unrecorded"  # a refusal beyond REFUSALS_A_MINUTE, only counted


_VERDICTS: Final = {verdict.encode(): verdict for verdict in AcceptVerdict}


@dataclass(frozen=True, slots=True)
class Idempotency:
    """Keyed hashes of an Idempotency-Key and of its trigger, one a vault key, newest first."""

    macs: tuple[str, ...]
    fingerprints: tuple[str, ...]


class NewInvocation(NamedTuple):
    """A trigger on its way into the store."""

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
    waiter: str | None = None  # the API process that awaits it
    idempotency: Idempotency | None = None
    refusal: Outcome | None = None  # written as `rejected`, without contents
    pins: str | None = None  # of a chain: the revisions of its steps' webhooks, as JSON
    max_age_ms: int | None = None  # not final by then it ends as `expired`; None: as the settings say
    delay_ms: int = 0  # not sent before; its age counts from then on
    callback: str = ""  # id of the webhook that is called back at its end


class Accepted(NamedTuple):
    """What the store says of one trigger: the verdict and the invocation it is about."""

    verdict: AcceptVerdict
    reference_id: str
    state: State | None


def group_args(news: Sequence[NewInvocation], messages: Sequence[LaneMessage], *, max_age_ms: int) -> list[Any]:
    """Return the group's own arguments of ``lua/accept.lua``: its triggers, and the messages that carry them.

    ``max_age_ms`` counts for triggers that bring none.
    """
    args: list[Any] = [len(news)]
    for new in news:
        args.extend(_trigger_args(new, max_age_ms))
    args.append(len(messages))
    for message in messages:
        args.extend(message)
    return args


def _trigger_args(new: NewInvocation, max_age_ms: int) -> list[Any]:
    idempotency = new.idempotency or Idempotency((), ())
    pairs = zip(idempotency.macs, idempotency.fingerprints, strict=True)
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
        new.refusal or "",
        len(idempotency.macs),
        *(item for pair in pairs for item in pair),
    ]


def group_from(reply: list[Any]) -> tuple[list[Accepted], bool]:
    """Read the reply of ``lua/accept.lua``: what it says of each trigger, and whether it has published them."""
    published, replies = reply
    each = zip(replies[::3], replies[1::3], replies[2::3], strict=True)
    return [_accepted_from(*said) for said in each], bool(published)


def _accepted_from(verdict: bytes, reference_id: bytes, state: bytes) -> Accepted:
    return Accepted(_VERDICTS[verdict], reference_id.decode(), STATES.get(state))


def chain_args(pins: str | None) -> tuple[str, str]:
    """Return the arguments that say whether an invocation is a chain, and its pins."""
    return ("", "") if pins is None else ("1", pins)
