"""Use case: accept triggers. Look up, check, seal, and commit what concurrent callers bring as one script a group.

The record is the truth: once the accept script has answered, the call is safe, and a publish that fails is repaired
by the sweeper. What is refused is written down too, by the same script, so that every invocation can be audited.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from relay.accept.groupcommit import GroupCommit
from relay.accept.intake import CheckedTrigger, CurrentWebhooks, Intake, TriggerRequest
from relay.errors import IdempotencyKeyReused, OverCapacity, RelayError, Unavailable
from relay.invocation import State
from relay.store.acceptance import Accepted, AcceptVerdict, NewInvocation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from relay.vault import Vault

__all__ = ["CurrentWebhooks", "Dispatcher", "LanePublisher", "Ledger", "TriggerRequest"]

GROUP_ITEMS: Final = 128  # triggers in one accept script, and so ids in one Celery message
GROUP_BYTES: Final = 1024 * 1024  # sealed bytes in one accept script; a larger single trigger goes alone
WINDOW_S: Final = 0.004  # how much longer a group is collected after a group of several
_ROUNDS: Final = 4  # how often a registration may change under a trigger before it is asked to come again
_CAPACITY_RETRY_S: Final = 5


class Ledger(Protocol):
    """Where triggers are written down (`relay.store.invocations.InvocationStore`)."""

    def accept_and_publish(
        self, news: Sequence[NewInvocation], messages: Sequence[tuple[str, bytes]]
    ) -> tuple[list[Accepted], bool]:
        """One script for all of them; whether it has put the messages into their lanes as well."""


class LanePublisher(Protocol):
    """Where accepted ids go (`relay.queue.Publisher`)."""

    def messages_for_script(self, ready: Iterable[tuple[str, str]]) -> Sequence[tuple[str, bytes]]:
        """The messages that the accept script may put into their lanes itself; none where it cannot."""

    def publish_ready(self, ready: Iterable[tuple[str, str]]) -> object:
        """Publish ``(id, lane)`` pairs, one message a lane; a broker that is away is the sweeper's business."""


class Told(Protocol):
    """Who is told what became of a trigger, by the committing thread."""

    def __call__(self, reply: Accepted | Exception, /) -> None:
        """Take the reply; must not block."""


@dataclass(frozen=True, slots=True)
class _Again:
    """A call to be brought once more: with a fresh look at the registration, or to be written down as refused."""

    call: TriggerRequest
    refused: RelayError | None = None


class Dispatcher:
    """Accepts triggers, from any number of threads. ``vault`` is the one of the data keys."""

    def __init__(self, webhooks: CurrentWebhooks, ledger: Ledger, vault: Vault, publisher: LanePublisher) -> None:
        self._intake = Intake(webhooks, vault)
        self._ledger = ledger
        self._publisher = publisher
        self._commits: GroupCommit[NewInvocation, Accepted] = GroupCommit(
            self._commit, max_items=GROUP_ITEMS, max_bytes=GROUP_BYTES, window_s=WINDOW_S
        )

    def trigger(self, call: TriggerRequest) -> Accepted:
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

    def trigger_into(self, call: TriggerRequest, told: Told) -> Accepted | None:
        """Accept one trigger for a caller that waits for its end anyway, and need not be woken for its acceptance.

        Returns None when it was brought to the store: ``told`` will get its plain acceptance, or what else there is
        to say (`follow_up` takes that). Else returns and raises as `trigger`.
        """
        checked = self._intake.check_in(call)
        if checked.refused is not None:
            return self.trigger(call)
        self._commits.submit_to(checked.new, checked.size_bytes, told)
        return None

    def follow_up(self, call: TriggerRequest, reply: Accepted | Exception) -> Accepted:
        """What a reply that `trigger_into` had delivered means; returns and raises as `trigger`."""
        if isinstance(reply, Exception):
            raise reply
        if reply.verdict in {AcceptVerdict.ACCEPTED, AcceptVerdict.KNOWN}:
            return reply
        if reply.verdict is AcceptVerdict.OVER_CAPACITY:
            raise OverCapacity(retry_after_s=_CAPACITY_RETRY_S)
        return self.trigger(call)  # nothing was written: the slow way says what is to be said

    def trigger_many(self, calls: Sequence[TriggerRequest]) -> list[Accepted | RelayError]:
        """Accept a list of triggers, in few groups: for each, in order, what `trigger` returns or raises."""
        return self._accept(calls, self._submit_many)

    def _accept(
        self,
        calls: Sequence[TriggerRequest],
        submit: Callable[[Sequence[CheckedTrigger]], Iterable[Accepted | RelayError]],
    ) -> list[Accepted | RelayError]:
        outcomes: dict[int, Accepted | RelayError] = {}
        todo: list[tuple[int, _Again]] = [(index, _Again(call)) for index, call in enumerate(calls)]
        for round_number in range(_ROUNDS):
            checked = []
            for index, again in todo:
                try:
                    checked.append((index, self._check_in(again, fresh=round_number > 0)))
                except RelayError as error:
                    outcomes[index] = error
            todo = []
            for (index, each), reply in zip(checked, submit([each for _, each in checked]), strict=True):
                outcome = reply if isinstance(reply, RelayError) else _judge(each, reply)
                if isinstance(outcome, _Again):
                    todo.append((index, outcome))
                else:
                    outcomes[index] = outcome
        for index, _ in todo:
            outcomes[index] = Unavailable("The webhook's registration keeps changing.")
        return [outcomes[index] for index in range(len(calls))]

    def _check_in(self, again: _Again, *, fresh: bool) -> CheckedTrigger:
        if again.refused is not None:
            return self._intake.refuse(again.call, again.refused)
        return self._intake.check_in(again.call, fresh=fresh)

    def _submit(self, checked: Sequence[CheckedTrigger]) -> list[Accepted | RelayError]:
        return [self._commits.submit(each.new, each.size_bytes) for each in checked]

    def _submit_many(self, checked: Sequence[CheckedTrigger]) -> Iterator[Accepted | RelayError]:
        """In groups of its own: a list must not make single triggers wait for it."""
        for group in _groups(checked):
            try:
                yield from self._commit([each.new for each in group])
            except RelayError as error:  # what came before it is accepted, so that it is said of each alone
                yield from (error for _ in group)

    def _commit(self, news: Sequence[NewInvocation]) -> list[Accepted]:
        messages = self._publisher.messages_for_script((new.reference_id, new.lane) for new in news if not new.delay_ms)
        accepted, published = self._ledger.accept_and_publish(news, messages)
        if not published:
            self._publisher.publish_ready(
                (reply.reference_id, new.lane)
                for new, reply in zip(news, accepted, strict=True)
                if reply.verdict is AcceptVerdict.ACCEPTED and reply.state is State.QUEUED and not new.delay_ms
            )
        return accepted


def _judge(checked: CheckedTrigger, accepted: Accepted) -> Accepted | RelayError | _Again:
    """What the store's answer means for the caller."""
    if checked.refused is not None and accepted.verdict is not AcceptVerdict.KNOWN:
        if accepted.verdict is not AcceptVerdict.UNRECORDED:
            checked.refused.reference_id = accepted.reference_id
        return checked.refused
    match accepted.verdict:
        case AcceptVerdict.STALE:
            return _Again(checked.call)
        case AcceptVerdict.KEY_REUSED:
            return _Again(checked.call, IdempotencyKeyReused())
        case AcceptVerdict.OVER_CAPACITY:
            return OverCapacity(retry_after_s=_CAPACITY_RETRY_S)
        case _:
            return accepted


def _groups(checked: Sequence[CheckedTrigger]) -> Iterator[list[CheckedTrigger]]:
    group: list[CheckedTrigger] = []
    size_bytes = 0
    for each in checked:
        if group and (len(group) == GROUP_ITEMS or size_bytes + each.size_bytes > GROUP_BYTES):
            yield group
            group, size_bytes = [], 0
        group.append(each)
        size_bytes += each.size_bytes
    if group:
        yield group
