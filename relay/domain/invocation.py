"""An invocation, its attempts and outcomes, and the states it moves through.

The record in the store is authoritative; these classes represent it in Python. Times are milliseconds
since the epoch by the *server's* clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

#: How long an Idempotency-Key is remembered: a day.
IDEMPOTENCY_MS: Final = 24 * 3600 * 1000


class State(StrEnum):
    """The state of an invocation. Final states never change."""

    QUEUED = "queued"  # accepted and stored; waits for a worker
    SENDING = "sending"  # claimed by a worker until leaseEnd; the request may be sent at any moment
    RETRYING = "retrying"  # the last attempt failed in a way that is retried, at notBefore or later
    WAITING = "waiting"  # a chain whose current step is an unfinished invocation of its own
    DELIVERED = "delivered"  # final: the endpoint answered
    UNREACHABLE = "unreachable"  # final: no acceptable answer came
    INTERRUPTED = "interrupted"  # final: its worker was lost, or a backup restored; its outcome is unknown
    REJECTED = "rejected"  # final: did not fit the registration, or the webhook is not registered
    CANCELLED = "cancelled"  # final: an operator stopped it before an attempt

    @property
    def final(self) -> bool:
        """Whether the invocation has ended for good."""
        return self in FINAL


class OwnCaller(StrEnum):
    """The callers of calls that the relay itself makes; others are the id of an API key, or `cli`.

    Such a call may call a hidden webhook; neither it nor its steps and replays have a callback.
    """

    CALLBACK = "callback"
    ALERT = "alert"


#: Their values, as records and requests have them.
OWN_CALLERS: Final = frozenset(OwnCaller)


def is_error(state: str, given: bool | None) -> bool:
    """Return whether a final record's result is an error: as the record says, or by its state if it does not say."""
    return state != State.DELIVERED if given is None else given


#: Final states that come with a result; ``rejected`` and ``cancelled`` have none.
WITH_RESULT: Final = frozenset({State.DELIVERED, State.UNREACHABLE, State.INTERRUPTED})
FINAL: Final = WITH_RESULT | {State.REJECTED, State.CANCELLED}

#: The states that may follow each state, with their scripts; ``None`` is "does not exist yet". See docs/lifecycle.md.
TRANSITIONS: Final[Mapping[State | None, Mapping[State, tuple[str, ...]]]] = MappingProxyType(
    {
        None: {State.QUEUED: ("accept", "advance", "replay_create"), State.REJECTED: ("accept",)},
        State.QUEUED: {
            State.SENDING: ("claim",),
            State.RETRYING: ("claim",),  # the breaker is open, and the webhook has a retry policy
            State.WAITING: ("advance",),
            State.DELIVERED: ("advance",),
            State.UNREACHABLE: ("claim", "advance", "expire"),  # an open breaker without a policy, its age, a deadline
            State.CANCELLED: ("cancel", "claim", "advance", "replay_steer", "expire"),  # its chain is over
            State.REJECTED: ("claim", "advance", "revisit"),  # its webhook was removed
            State.INTERRUPTED: ("restore",),
        },
        State.SENDING: {
            State.SENDING: ("claim",),  # a lost lease of a repeatable call, taken again
            State.QUEUED: ("release", "claim"),  # claim: a lost repeatable call that has to wait
            State.RETRYING: ("settle", "claim"),  # claim: a lost repeatable call at an open breaker
            State.DELIVERED: ("settle",),
            State.UNREACHABLE: ("settle", "claim", "expire"),  # not settle: open breaker, age
            State.REJECTED: ("settle",),
            State.INTERRUPTED: ("claim", "expire", "restore"),
        },
        State.RETRYING: {
            State.SENDING: ("claim",),
            State.RETRYING: ("claim",),  # the breaker is open: it is tried later
            State.UNREACHABLE: ("claim", "expire"),  # an open breaker, and the policy was taken away; its age
            State.CANCELLED: ("cancel", "claim", "advance", "replay_steer", "expire"),  # its chain is over
            State.REJECTED: ("claim", "revisit"),  # its webhook was removed
            State.INTERRUPTED: ("restore",),
        },
        State.WAITING: {
            State.QUEUED: (
                "settle",
                "claim",
                "cancel",
                "advance",
                "expire",
                "restore",
            ),  # whatever ended the last call of its step
            State.UNREACHABLE: ("claim", "advance", "expire"),  # past its deadline
            State.INTERRUPTED: ("restore",),
            State.CANCELLED: (
                "cancel",
                "claim",
                "advance",
                "expire",
            ),  # not cancel: a chain within one that is past its deadline
        },
    }
)


class Sent(StrEnum):
    """What is known about an attempt's request."""

    NO = "no"  # it was certainly never sent
    MAYBE = "maybe"  # the gate was passed, but no answer came
    ANSWERED = "answered"


class Outcome(StrEnum):
    """The classified result of an attempt."""

    ANSWERED = "answered"
    RESPONSE_REJECTED = "response_rejected"
    DNS_FAILED = "dns_failed"
    CONNECT_FAILED = "connect_failed"
    CONNECT_TIMEOUT = "connect_timeout"
    TLS_FAILED = "tls_failed"
    ADDRESS_REFUSED = "address_refused"
    BREAKER_OPEN = "breaker_open"
    PREPARE_FAILED = "prepare_failed"
    ANSWER_TIMEOUT = "answer_timeout"
    CONNECTION_LOST = "connection_lost"
    ANSWER_REJECTED = "answer_rejected"
    LEASE_LOST = "lease_lost"
    RESTORED = "restored"  # not final in the backup that the store was restored from: it may have been sent since
    STEP_REJECTED = "step_rejected"
    CHAIN_TIMEOUT = "chain_timeout"
    EXPIRED = "expired"  # not final when it reached its maximum age
    REQUEST_REJECTED = "request_rejected"  # the worker's check against the pinned revision refused it
    WEBHOOK_NOT_REGISTERED = "webhook_not_registered"  # removed before the call was sent


@dataclass(frozen=True, slots=True)
class Meaning:
    """The state that an outcome leads to, and the coarse code and fixed sentence that a plugin sees.

    Without an answer there is a sentence for calls of which nothing was sent, and another for those that may have been.
    """

    state: State
    code: str | None
    sentence: str | None = None
    sentence_if_sent: str | None = None  # None if the endpoint has answered, and for outcomes without a result


_UNREACHABLE = Meaning(
    State.UNREACHABLE,
    "unreachable",
    "The endpoint could not be contacted; nothing was sent.",
    "No answer came from the endpoint; it may have received the request.",
)
_TIMEOUT = Meaning(
    State.UNREACHABLE,
    "timeout",
    "The endpoint could not be contacted in time; nothing was sent.",
    "The endpoint did not answer in time; it may have received the request.",
)

MEANINGS: Final[Mapping[Outcome, Meaning]] = MappingProxyType(
    {
        Outcome.ANSWERED: Meaning(State.DELIVERED, None),
        Outcome.RESPONSE_REJECTED: Meaning(
            State.DELIVERED, "response_rejected", "The endpoint's answer does not have the registered form."
        ),
        Outcome.DNS_FAILED: _UNREACHABLE,
        Outcome.CONNECT_FAILED: _UNREACHABLE,
        Outcome.CONNECT_TIMEOUT: _TIMEOUT,
        Outcome.TLS_FAILED: _UNREACHABLE,
        Outcome.ADDRESS_REFUSED: _UNREACHABLE,
        Outcome.BREAKER_OPEN: _UNREACHABLE,
        Outcome.PREPARE_FAILED: _UNREACHABLE,
        Outcome.ANSWER_TIMEOUT: _TIMEOUT,
        Outcome.CONNECTION_LOST: _UNREACHABLE,
        Outcome.ANSWER_REJECTED: Meaning(
            State.UNREACHABLE, "answer_rejected", "The endpoint's answer could not be accepted."
        ),
        Outcome.LEASE_LOST: Meaning(
            State.INTERRUPTED,
            "interrupted",
            "The call was interrupted; nothing was sent.",
            "The call was interrupted; the endpoint may or may not have received the request.",
        ),
        Outcome.RESTORED: Meaning(
            State.INTERRUPTED,
            "interrupted",
            "The relay was restored from a backup; nothing was sent.",
            "The relay was restored from a backup; the endpoint may or may not have received the request since.",
        ),
        Outcome.STEP_REJECTED: Meaning(
            State.UNREACHABLE,
            "step_rejected",
            "A step of the chain could not be created; nothing was sent.",
            "A step of the chain could not be created; requests of earlier steps may have been sent.",
        ),
        Outcome.CHAIN_TIMEOUT: Meaning(
            State.UNREACHABLE,
            "timeout",
            "The chain did not end in time; nothing was sent.",
            "The chain did not end in time; requests of its steps may have been sent.",
        ),
        Outcome.EXPIRED: Meaning(
            State.UNREACHABLE,
            "timeout",
            "The call did not come to an end in time; nothing was sent.",
            "The call did not come to an end in time; the endpoint may have received a request.",
        ),
        Outcome.REQUEST_REJECTED: Meaning(State.REJECTED, "request_rejected"),
        Outcome.WEBHOOK_NOT_REGISTERED: Meaning(State.REJECTED, "webhook_not_registered"),
    }
)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One outbound HTTP request of an invocation, or one that failed before it could be sent."""

    number: int  # from 1
    started_at_ms: int
    duration_ms: int
    status: int  # the endpoint's HTTP status, 0 without an acceptable answer
    outcome: Outcome
    sent: Sent


@dataclass(frozen=True, slots=True)
class StepOf:
    """Which step of which chain an invocation is; ``item`` counts the calls of one ``forEach``."""

    parent: str
    step: int
    item: int


class Purpose(NamedTuple):
    """What an invocation was accepted for. It is in the record in the clear, and the sealed trigger is bound to it."""

    webhook_id: str
    revision: int
    pins: str | None = None  # of a chain: the revisions of its steps' webhooks, as JSON
    parent: str | None = None  # of a step: its chain
    step: int | None = None  # of a step: its number in its chain


@dataclass(frozen=True, slots=True)
class Invocation:
    """The record of an invocation. Its payload and result are sealed and kept separately.

    ``damaged`` names the record's fields that cannot be read, because somebody else has altered them: their members are
    as if they were missing, and ``state`` is None.
    """

    reference_id: str
    plugin: str
    webhook_id: str
    revision: int
    state: State | None
    lane: str
    created_at_ms: int
    timeout_ms: int = 0
    repeatable: bool = False
    attempts: tuple[Attempt, ...] = ()
    finished_at_ms: int | None = None
    not_before_ms: int | None = None
    losses: int = 0
    status: int | None = None  # of the result
    error: bool | None = None  # of the result
    outcome: Outcome | None = None  # the outcome that ended it
    sent: Sent | None = None  # if it ended without an acceptable answer: whether a request of it may have left
    request_bytes: int = 0
    response_bytes: int = 0
    masked: int = 0  # how many secrets were masked in the answer
    caller: str | None = None  # id of the API key
    traceparent: str | None = None
    replay_of: str | None = None
    replayed_by: str | None = None
    replay: str | None = None  # the replay job that created it
    forgotten_at_ms: int | None = None  # when its payload and result were deleted
    expires_at_ms: int | None = None
    step_of: StepOf | None = None
    is_chain: bool = False
    pins: str | None = None  # of a chain: the revisions of its steps' webhooks, as JSON
    steps: tuple[str, ...] = ()  # of a chain: the reference ids of its steps
    reason: str | None = None  # of a chain that ended as STEP_REJECTED: which step, and why; quotes no data
    late_answer: str | None = None  # status and outcome of an answer that came after another worker had taken the call
    damaged: tuple[str, ...] = ()

    @property
    def final(self) -> bool:
        """Whether it has ended for good."""
        return self.state is not None and self.state.final

    @property
    def purpose(self) -> Purpose:
        """What it was accepted for."""
        place = self.step_of
        parent, step = (None, None) if place is None else (place.parent, place.step)
        return Purpose(self.webhook_id, self.revision, self.pins, parent, step)
