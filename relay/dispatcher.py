"""Use case: accept triggers. Look up, check, seal, and commit what concurrent callers bring as one script a group.

The record is the truth: once the accept script has answered, the call is safe, and a publish that fails is repaired
by the sweeper. What is refused is written down too, by the same script, so that every invocation can be audited.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from relay.errors import (
    BadParameter,
    IdempotencyKeyReused,
    NotFound,
    OverCapacity,
    RelayError,
    RequestRejected,
    Unavailable,
    WebhookNotRegistered,
)
from relay.groupcommit import GroupCommit
from relay.invocation import Outcome, State
from relay.registration import ID_PATTERN
from relay.store.transitions import Accepted, Idempotency, NewInvocation, Verdict
from relay.trigger import Trigger, check
from relay.vault import payload_owner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from relay.registration import Shape
    from relay.vault import Vault

GROUP_ITEMS: Final = 128  # triggers in one accept script, and so ids in one Celery message
GROUP_BYTES: Final = 1024 * 1024  # sealed bytes in one accept script; a larger single trigger goes alone
WINDOW_S: Final = 0.004  # how much longer a group is collected after a group of several
_RECORD_BYTES: Final = 512  # about what a record costs beside its payload
_ROUNDS: Final = 4  # how often a registration may change under a trigger before it is asked to come again
_CAPACITY_RETRY_S: Final = 5

IDEMPOTENCY_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}\Z", re.ASCII)


class Webhooks(Protocol):
    """Where the current registrations are read (`relay.store.registry.Registry`)."""

    def current(self, plugin: str, webhook_id: str, *, refresh: bool = False) -> tuple[int, Shape] | None:
        """Number and shape of the current revision."""


class Ledger(Protocol):
    """Where triggers are written down (`relay.store.invocations.InvocationStore`)."""

    def accept(self, news: Sequence[NewInvocation]) -> list[Accepted]:
        """One script for all of them."""


class Publisher(Protocol):
    """Where accepted ids go (`relay.queue.Publisher`)."""

    def publish_ready(self, ready: Iterable[tuple[str, str]]) -> None:
        """Publish ``(id, lane)`` pairs, one message a lane; a broker that is away is the sweeper's business."""


@dataclass(frozen=True, slots=True)
class Call:
    """One trigger as it came to the door. ``value`` is its parsed JSON, not yet checked."""

    plugin: str
    webhook_id: str
    value: Any = field(repr=False)
    reference_id: str
    caller: str  # id of the API key
    awaited: bool = False  # takes the interactive lane
    waiter: str | None = None  # the API process to tell when it ends
    idempotency_key: str | None = field(default=None, repr=False)
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class _Brought:
    """A call made ready for the store, or the reason why it is refused."""

    call: Call
    new: NewInvocation
    refused: RelayError | None = None

    @property
    def size_bytes(self) -> int:
        return len(self.new.payload) + _RECORD_BYTES


@dataclass(frozen=True, slots=True)
class _Again:
    """A call to be brought once more: with a fresh look at the registration, or to be written down as refused."""

    call: Call
    refused: RelayError | None = None


def check_idempotency_key(key: Any) -> str:
    """The key, 1 to 255 visible ASCII characters; ``BadParameter`` otherwise."""
    if not isinstance(key, str) or not IDEMPOTENCY_KEY.match(key):
        raise BadParameter("An idempotency key is 1 to 255 visible ASCII characters.")
    return key


class Dispatcher:
    """Accepts triggers, from any number of threads. ``vault`` is the one of the data keys."""

    def __init__(self, webhooks: Webhooks, ledger: Ledger, vault: Vault, publisher: Publisher) -> None:
        self._webhooks = webhooks
        self._ledger = ledger
        self._vault = vault
        self._publisher = publisher
        self._commits: GroupCommit[NewInvocation, Accepted] = GroupCommit(
            self._commit, max_items=GROUP_ITEMS, max_bytes=GROUP_BYTES, window_s=WINDOW_S
        )

    def trigger(self, call: Call) -> Accepted:
        """Accept one trigger, in a group with those that come at the same time.

        Returns:
            The invocation: the call's own, or with an idempotency key the first one's (verdict ``known``).

        Raises:
            WebhookNotRegistered, RequestRejected, IdempotencyKeyReused: refused; ``reference_id`` names the
                `rejected` record that was left, unless there were too many of them.
            BadParameter: the idempotency key is malformed.
            OverCapacity, Unavailable: not now; nothing was accepted.
        """
        outcome = self._accept([call], self._submit)[0]
        if isinstance(outcome, RelayError):
            raise outcome
        return outcome

    def trigger_many(self, calls: Sequence[Call]) -> list[Accepted | RelayError]:
        """Accept a list of triggers, in few groups: for each, in order, what `trigger` returns or raises."""
        return self._accept(calls, self._submit_many)

    def _accept(
        self, calls: Sequence[Call], submit: Callable[[Sequence[_Brought]], Iterable[Accepted | RelayError]]
    ) -> list[Accepted | RelayError]:
        outcomes: dict[int, Accepted | RelayError] = {}
        todo: list[tuple[int, _Again]] = [(index, _Again(call)) for index, call in enumerate(calls)]
        for round_number in range(_ROUNDS):
            brought = []
            for index, again in todo:
                try:
                    brought.append((index, self._bring(again, fresh=round_number > 0)))
                except RelayError as error:
                    outcomes[index] = error
            todo = []
            for (index, each), reply in zip(brought, submit([each for _, each in brought]), strict=True):
                outcome = reply if isinstance(reply, RelayError) else _judge(each, reply)
                if isinstance(outcome, _Again):
                    todo.append((index, outcome))
                else:
                    outcomes[index] = outcome
        for index, _ in todo:
            outcomes[index] = Unavailable("The webhook's registration keeps changing.")
        return [outcomes[index] for index in range(len(calls))]

    def _bring(self, again: _Again, *, fresh: bool) -> _Brought:
        """Look up, check and seal; what does not fit is looked up afresh once, for the shape may be a moment old."""
        call = again.call
        if call.idempotency_key is not None:
            check_idempotency_key(call.idempotency_key)
        if again.refused is not None:
            return _refusal(call, 0, again.refused)
        brought = self._checked(call, refresh=fresh)
        if brought.refused is not None and not fresh:
            brought = self._checked(call, refresh=True)
        return brought

    def _checked(self, call: Call, *, refresh: bool) -> _Brought:
        found = self._current(call, refresh=refresh)
        if found is None:
            return _refusal(call, 0, WebhookNotRegistered())
        revision, shape = found
        idempotency = None
        try:
            trigger = Trigger.from_value(call.value)
            idempotency = self._idempotency(call, trigger)
            payload = check(shape, trigger).to_json()
        except RequestRejected as error:
            return _refusal(call, revision, error, idempotency)
        new = NewInvocation(
            reference_id=call.reference_id,
            plugin=call.plugin,
            webhook_id=call.webhook_id,
            revision=revision,
            lane=_lane(call),
            timeout_ms=shape.timeout_ms,
            repeatable=shape.repeatable,
            payload=self._vault.seal(payload, payload_owner(call.plugin, call.reference_id)),
            request_bytes=len(payload),
            caller=call.caller,
            traceparent=call.traceparent,
            waiter=call.waiter,
            idempotency=idempotency,
        )
        return _Brought(call, new)

    def _current(self, call: Call, *, refresh: bool) -> tuple[int, Shape] | None:
        if not ID_PATTERN.match(call.webhook_id):
            return None
        try:
            found = self._webhooks.current(call.plugin, call.webhook_id, refresh=refresh)
        except NotFound:
            return None
        return None if found is None or found[1].hidden else found

    def _idempotency(self, call: Call, trigger: Trigger) -> Idempotency | None:
        if call.idempotency_key is None:
            return None
        # As the caller wrote it, not as the registration's check left it: a repeat stays the same when that changes.
        members = {"data": trigger.data, "headers": dict(trigger.headers), "queryParams": dict(trigger.query_params)}
        canonical = json.dumps(members, sort_keys=True, separators=(",", ":")).encode()
        place = (call.plugin.encode(), call.webhook_id.encode())
        return Idempotency(
            macs=self._vault.macs(b"idempotency key", *place, call.idempotency_key.encode()),
            fingerprints=self._vault.macs(b"idempotency fingerprint", *place, canonical),
        )

    def _submit(self, brought: Sequence[_Brought]) -> list[Accepted | RelayError]:
        return [self._commits.submit(each.new, each.size_bytes) for each in brought]

    def _submit_many(self, brought: Sequence[_Brought]) -> Iterator[Accepted | RelayError]:
        """In groups of its own: a list must not make single triggers wait for it."""
        for group in _groups(brought):
            try:
                yield from self._commit([each.new for each in group])
            except RelayError as error:  # what came before it is accepted, so that it is said of each alone
                yield from (error for _ in group)

    def _commit(self, news: Sequence[NewInvocation]) -> list[Accepted]:
        accepted = self._ledger.accept(news)
        self._publisher.publish_ready(
            (reply.reference_id, new.lane)
            for new, reply in zip(news, accepted, strict=True)
            if reply.verdict is Verdict.ACCEPTED and reply.state is State.QUEUED
        )
        return accepted


def _lane(call: Call) -> str:
    return "interactive" if call.awaited else "bulk"


def _refusal(call: Call, revision: int, error: RelayError, idempotency: Idempotency | None = None) -> _Brought:
    unknown = isinstance(error, WebhookNotRegistered)
    new = NewInvocation(
        reference_id=call.reference_id,
        plugin=call.plugin,
        webhook_id=call.webhook_id if ID_PATTERN.match(call.webhook_id) else "",  # only ids enter the store
        revision=revision,
        lane=_lane(call),
        caller=call.caller,
        traceparent=call.traceparent,
        idempotency=idempotency,  # what was accepted before is that invocation still, whatever was registered since
        refusal=Outcome.WEBHOOK_NOT_REGISTERED if unknown else Outcome.REQUEST_REJECTED,
    )
    return _Brought(call, new, error)


def _judge(brought: _Brought, accepted: Accepted) -> Accepted | RelayError | _Again:
    """What the store's answer means for the caller."""
    if brought.refused is not None and accepted.verdict is not Verdict.KNOWN:
        if accepted.verdict is not Verdict.UNRECORDED:
            brought.refused.reference_id = accepted.reference_id
        return brought.refused
    match accepted.verdict:
        case Verdict.STALE:
            return _Again(brought.call)
        case Verdict.KEY_REUSED:
            return _Again(brought.call, IdempotencyKeyReused())
        case Verdict.OVER_CAPACITY:
            return OverCapacity(retry_after_s=_CAPACITY_RETRY_S)
        case _:
            return accepted


def _groups(brought: Sequence[_Brought]) -> Iterator[list[_Brought]]:
    group: list[_Brought] = []
    size_bytes = 0
    for each in brought:
        if group and (len(group) == GROUP_ITEMS or size_bytes + each.size_bytes > GROUP_BYTES):
            yield group
            group, size_bytes = [], 0
        group.append(each)
        size_bytes += each.size_bytes
    if group:
        yield group
