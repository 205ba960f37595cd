"""Use case: accept triggers. Look up, check, seal, and commit what concurrent callers bring as one script a group.

The record is the truth: once the accept script has answered, the call is safe, and a publish that fails is repaired
by the sweeper. What is refused is written down too, by the same script, so that every invocation can be audited.
"""

from __future__ import annotations

import copy
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeAlias

from relay.accept.groupcommit import GroupCommit
from relay.accept.intake import CheckedTrigger, Intake, TriggerRequest
from relay.errors import Expired, IdempotencyKeyReused, OverCapacity, RelayError, Unavailable
from relay.invocation import State
from relay.queue import MESSAGE_IDS
from relay.store.acceptance import Accepted, AcceptVerdict, NewInvocation
from relay.store.answering import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from relay.store.acceptance import LaneMessage
    from relay.store.invocations import InvocationStore
    from relay.store.registry import Registry
    from relay.vault import Vault

GROUP_ITEMS: Final = MESSAGE_IDS  # triggers in one accept script, so that their ids fill one message of a lane
GROUP_BYTES: Final = 1024 * 1024  # sealed bytes in one accept script; a larger single trigger goes alone
_ROUNDS: Final = 4  # how often a registration may change under a trigger before it is asked to come again
_CAPACITY_RETRY_S: Final = 5
_AGAIN_THREADS: Final = 4


class LanePublisher(Protocol):
    """Where accepted ids go (`relay.queue.Publisher`)."""

    def messages_for_script(self, ready: Iterable[tuple[str, str]]) -> Sequence[LaneMessage]:
        """Return the messages that the accept script may put into their lanes itself; none where it cannot."""

    def publish_ready(self, ready: Iterable[tuple[str, str]]) -> object:
        """Publish ``(id, lane)`` pairs, one message a lane; a broker that is away is the sweeper's business."""


#: Is called once with what became of a trigger, by whichever thread learns it; must not block.
OnReply: TypeAlias = "Callable[[Accepted | Exception], None]"


class _Round(NamedTuple):
    """One try to bring a call to the store: with a fresh look at the registration, or to write down its refusal."""

    call: TriggerRequest
    number: int = 1
    refused: RelayError | None = None

    def again(self, refused: RelayError | None = None) -> _Round:
        return _Round(self.call, self.number + 1, refused)


class _Listed(NamedTuple):
    """A trigger of a list, checked in; ``place`` is where."""

    place: int
    round: _Round
    checked: CheckedTrigger


class Dispatcher:
    """Accepts triggers, from any number of threads. ``vault`` has the data keys."""

    def __init__(self, webhooks: Registry, ledger: InvocationStore, vault: Vault, publisher: LanePublisher) -> None:
        self._intake = Intake(webhooks, vault)
        self._ledger = ledger
        self._publisher = publisher
        self._commits: dict[int, GroupCommit[NewInvocation, Accepted]] = {}  # of each partition
        self._again = ThreadPoolExecutor(_AGAIN_THREADS, "accept-again")  # has no threads until they are needed

    def submit(self, call: TriggerRequest, on_reply: OnReply) -> None:
        """Accept one trigger, in a group with those that come at the same time.

        It is looked up, checked and sealed in this thread. ``on_reply`` gets the invocation (the call's own, or with an
        idempotency key the first one's, verdict ``known``), or an error:

            WebhookNotRegistered, RequestRejected, IdempotencyKeyReused: refused; ``reference_id`` names the
                `rejected` record that was left, unless there were too many of them.
            BadParameter: the idempotency key is malformed.
            Expired: the invocation that the idempotency key was used for is gone.
            OverCapacity, Unavailable: not now; nothing was accepted.
        """
        self._bring(_Round(call), on_reply)

    def close(self) -> None:
        """Accept nothing more; what was brought is still committed."""
        for commits in list(self._commits.values()):
            commits.close()
        self._again.shutdown(wait=False)

    def trigger(self, call: TriggerRequest) -> Accepted:
        """Submit a trigger and wait for the reply; raises the errors of `submit`."""
        told: SimpleQueue[Accepted | Exception] = SimpleQueue()
        self.submit(call, told.put)
        return accepted_or_raise(told.get())

    def trigger_many(self, calls: Sequence[TriggerRequest]) -> list[Accepted | RelayError]:
        """Accept a list of triggers, in few groups of its own: for each, in order, what `trigger` returns or raises.

        A list must not make single triggers wait for it.
        """
        outcomes: dict[int, Accepted | RelayError] = {}
        todo = [(index, _Round(call)) for index, call in enumerate(calls)]
        while todo:
            again = []
            for each, reply in self._committed(_groups(self._checked(todo, outcomes), self._ledger.group_of_plugin)):
                outcome = reply if isinstance(reply, RelayError) else _judge(each.round, each.checked, reply)
                if isinstance(outcome, _Round):
                    again.append((each.place, outcome))
                else:
                    outcomes[each.place] = outcome
            todo = again
        return [outcomes[index] for index in range(len(calls))]

    def _bring(self, this: _Round, on_reply: OnReply) -> None:
        try:
            checked = self._check_in(this)
        except RelayError as error:
            on_reply(error)
        else:
            self._commits_of(this.call.plugin).submit(
                checked.new, checked.size_bytes, partial(self._replied, this, checked, on_reply)
            )

    def _commits_of(self, plugin: str) -> GroupCommit[NewInvocation, Accepted]:
        """Return the commits of the plugin's partition: one whose server stands still holds up nobody else's."""
        number = self._ledger.group_of_plugin(plugin)
        commits = self._commits.get(number)
        if commits is None:  # of two threads that find none the first one's counts
            made: GroupCommit[NewInvocation, Accepted] = GroupCommit(
                self._commit,
                max_items=GROUP_ITEMS,
                max_bytes=GROUP_BYTES,
                # Callers of a partition whose server is silent are told so at once: they would hold all threads.
                patience_s=PATIENCE_S if self._ledger.is_divided else None,
            )
            commits = self._commits.setdefault(number, made)
        return commits

    def _replied(self, this: _Round, checked: CheckedTrigger, on_reply: OnReply, reply: Accepted | Exception) -> None:
        """Pass on what the store's reply means. Another round reads the store: not in the committing thread."""
        outcome = reply if isinstance(reply, Exception) else _judge(this, checked, reply)
        if isinstance(outcome, _Round):
            self._again.submit(self._bring, outcome, on_reply)
        else:
            on_reply(outcome)

    def _check_in(self, this: _Round) -> CheckedTrigger:
        if this.number > _ROUNDS:
            raise Unavailable("The webhook's registration keeps changing: send the trigger again.")
        if this.refused is not None:
            return self._intake.refuse(this.call, this.refused)
        return self._intake.check_in(this.call, fresh=this.number > 1)

    def _checked(
        self, todo: Iterable[tuple[int, _Round]], outcomes: dict[int, Accepted | RelayError]
    ) -> Iterator[_Listed]:
        """Check in one after the other; what cannot be has its outcome."""
        for index, this in todo:
            try:
                checked = self._check_in(this)
            except RelayError as error:
                outcomes[index] = error
            else:
                yield _Listed(index, this, checked)

    def _committed(self, groups: Iterable[list[_Listed]]) -> Iterator[tuple[_Listed, Accepted | RelayError]]:
        """Commit groups in order: each trigger with its reply, or the error of its whole group.

        A group is checked in while the server is at the one before. What came before an error is accepted.
        """
        brought: deque[list[_Listed]] = deque()

        def bring() -> Iterator[tuple[Sequence[NewInvocation], Sequence[LaneMessage]]]:
            for group in groups:
                brought.append(group)
                news = [each.checked.new for each in group]
                yield news, self._messages(news)

        for reply in self._ledger.accept_in_turn(bring()):
            group = brought.popleft()
            if isinstance(reply, RelayError):
                yield from ((each, reply) for each in group)
            else:
                yield from zip(group, self._published([each.checked.new for each in group], *reply), strict=True)

    def _commit(self, news: Sequence[NewInvocation]) -> list[Accepted]:
        return self._published(news, *self._ledger.accept_and_publish(news, self._messages(news)))

    def _messages(self, news: Sequence[NewInvocation]) -> Sequence[LaneMessage]:
        return self._publisher.messages_for_script((new.reference_id, new.lane) for new in news if not new.delay_ms)

    def _published(self, news: Sequence[NewInvocation], accepted: list[Accepted], published: bool) -> list[Accepted]:
        """Return the replies to what was committed; publish it, unless the script has."""
        if not published:
            self._publisher.publish_ready(
                (reply.reference_id, new.lane)
                for new, reply in zip(news, accepted, strict=True)
                if reply.verdict is AcceptVerdict.ACCEPTED and reply.state is State.QUEUED and not new.delay_ms
            )
        return accepted


def accepted_or_raise(reply: Accepted | Exception) -> Accepted:
    """Return the invocation that a reply is about; raise the error that it is."""
    if isinstance(reply, Exception):
        raise copy.copy(reply)  # one each: a traceback belongs to one thread
    return reply


def _judge(this: _Round, checked: CheckedTrigger, accepted: Accepted) -> Accepted | RelayError | _Round:
    """Return what the store's answer means for the caller."""
    if checked.refused is not None and accepted.verdict is not AcceptVerdict.KNOWN:
        if accepted.verdict is not AcceptVerdict.UNRECORDED:
            checked.refused.reference_id = accepted.reference_id
        return checked.refused
    match accepted.verdict:
        case AcceptVerdict.STALE:
            return this.again()
        case AcceptVerdict.KEY_REUSED:
            return this.again(IdempotencyKeyReused())
        case AcceptVerdict.OVER_CAPACITY:
            return OverCapacity(retry_after_s=_CAPACITY_RETRY_S)
        case AcceptVerdict.KNOWN if accepted.state is None:
            return Expired(reference_id=accepted.reference_id)
        case _:
            return accepted


def _groups(listed: Iterable[_Listed], group_of: Callable[[str], int]) -> Iterator[list[_Listed]]:
    """Yield the triggers in turn, each group of one partition."""
    group: list[_Listed] = []
    size_bytes, plugin = 0, ""
    for each in listed:
        new, more_bytes = each.checked.new, each.checked.size_bytes
        is_full = len(group) == GROUP_ITEMS or size_bytes + more_bytes > GROUP_BYTES
        if group and (is_full or (new.plugin != plugin and group_of(new.plugin) != group_of(plugin))):
            yield group
            group, size_bytes = [], 0
        group.append(each)
        size_bytes, plugin = size_bytes + more_bytes, new.plugin
    if group:
        yield group
