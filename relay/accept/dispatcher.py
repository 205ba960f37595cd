"""Accepts triggers: looks up, checks and seals each one, and commits concurrent ones in groups, one script per group.

Once the accept script has answered, the record exists, the call is safe, and it waits for a worker in the store. The
same script records a refused trigger, so that every invocation can be audited.
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
from relay.errors import Expired, IdempotencyKeyReused, OverCapacity, RelayError, StoreFault, Unavailable
from relay.queue import GROUP_IDS
from relay.store.ledger.acceptance import Accepted, AcceptVerdict, NewInvocation
from relay.store.server.availability import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from relay.store.ledger.acceptance import LaneMessage
    from relay.store.ledger.invocations import InvocationStore
    from relay.store.registry.webhooks import Registry
    from relay.store.subjects.hashes import SubjectHashes
    from relay.vault import Vault

GROUP_ITEMS: Final = GROUP_IDS  # triggers per accept script
GROUP_BYTES: Final = 1024 * 1024  # sealed bytes per accept script; a larger single trigger is committed alone
_TRIES: Final = 4  # to commit one trigger; after that, its caller is asked to send it again
_CAPACITY_RETRY_S: Final = 5
_AGAIN_THREADS: Final = 4


class LanePublisher(Protocol):
    """Tells workers that calls wait (`relay.queue.Publisher`)."""

    def messages(self, lanes: Iterable[str], partition: int) -> Sequence[LaneMessage]:
        """Return the lanes whose lists the accepted triggers join, each with the message that announces this."""

    def announce(self, messages: Iterable[tuple[str, int]]) -> None:
        """Publish the messages that the accept script has left to its caller, without waiting for the broker."""


#: Called once, from any thread, with the invocation of a trigger or the error that refused it; must not block.
OnReply: TypeAlias = "Callable[[Accepted | Exception], None]"


class _Submission(NamedTuple):
    """A try at committing a trigger. Later tries read the registration again, or record that its key was ``reused``."""

    call: TriggerRequest
    number: int = 1  # 1 for the first try
    reused: NewInvocation | None = None  # what was not accepted, since its Idempotency-Key is another trigger's

    def again(self, reused: NewInvocation | None = None) -> _Submission:
        return _Submission(self.call, self.number + 1, reused)


class _Listed(NamedTuple):
    """A checked trigger of a list; ``place`` is its index in the list."""

    place: int
    submission: _Submission
    checked: CheckedTrigger


class Dispatcher:
    """Accepts triggers, from any number of threads. ``vault`` has the data keys."""

    def __init__(
        self,
        webhooks: Registry,
        ledger: InvocationStore,
        vault: Vault,
        subjects: SubjectHashes,
        publisher: LanePublisher,
    ) -> None:
        self._intake = Intake(webhooks, vault, subjects)
        self._ledger = ledger
        self._publisher = publisher
        self._commits: dict[int, GroupCommit[NewInvocation, Accepted]] = {}  # of each partition
        self._again = ThreadPoolExecutor(_AGAIN_THREADS, "accept-again")  # starts no threads until they are needed

    def submit(self, call: TriggerRequest, on_reply: OnReply) -> None:
        """Accept one trigger, in a group with those that arrive at the same time.

        The calling thread looks up, checks and seals it. ``on_reply`` gets the invocation (the trigger's own, or, with
        the verdict ``known``, the one that first used its idempotency key) or an error:

            WebhookNotRegistered, RequestRejected, IdempotencyKeyReused: refused; ``reference_id`` names the
                `rejected` record that was written, unless there were too many of them.
            BadParameter: the idempotency key is malformed.
            Expired: the invocation that first used the idempotency key has been deleted.
            OverCapacity: too many invocations are unfinished; nothing was accepted.
            Unavailable: the store cannot be reached; nothing was accepted, unless only the store's reply was lost.
        """
        self._submit(_Submission(call), on_reply)

    def close(self) -> None:
        """Stop accepting; triggers already submitted are still committed."""
        for commits in list(self._commits.values()):
            commits.close()
        self._again.shutdown(wait=False)

    def trigger(self, call: TriggerRequest) -> Accepted:
        """Submit a trigger, wait for the reply and return the invocation; raise the errors that `submit` lists."""
        replies: SimpleQueue[Accepted | Exception] = SimpleQueue()
        self.submit(call, replies.put)
        return accepted_or_raise(replies.get())

    def trigger_many(self, calls: Sequence[TriggerRequest]) -> list[Accepted | RelayError]:
        """Accept a list of triggers; for each, in order, return what `trigger` returns or raises.

        A list is committed in groups of its own, so that single triggers do not wait behind it.
        """
        outcomes: dict[int, Accepted | RelayError] = {}
        todo = [(index, _Submission(call)) for index, call in enumerate(calls)]
        while todo:
            again = []
            for each, reply in self._committed(_groups(self._checked(todo, outcomes), self._ledger.keys.partition_of)):
                outcome = reply if isinstance(reply, RelayError) else _judge(each.submission, each.checked, reply)
                if isinstance(outcome, _Submission):
                    again.append((each.place, outcome))
                else:
                    outcomes[each.place] = outcome
            todo = again
        return [outcomes[index] for index in range(len(calls))]

    def _submit(self, submission: _Submission, on_reply: OnReply) -> None:
        try:
            checked = self._check_in(submission)
        except RelayError as error:
            on_reply(error)
        else:
            call = submission.call
            self._commits_of(call.plugin).submit(
                checked.new,
                checked.size_bytes,
                partial(self._replied, submission, checked, on_reply),
            )

    def _commits_of(self, plugin: str) -> GroupCommit[NewInvocation, Accepted]:
        """Return the group commit of the plugin's partition; each has its own, so a stalled server delays no other."""
        number = self._ledger.keys.partition_of(plugin)
        commits = self._commits.get(number)
        if commits is None:  # if two threads get here at once, the first one's is kept
            made: GroupCommit[NewInvocation, Accepted] = GroupCommit(
                self._commit,
                max_items=GROUP_ITEMS,
                max_bytes=GROUP_BYTES,
                # While a partition's server is silent, its callers are refused at once, before they fill all threads.
                patience_s=PATIENCE_S if self._ledger.keys.partitions > 1 else None,
            )
            commits = self._commits.setdefault(number, made)
        return commits

    def _replied(
        self, submission: _Submission, checked: CheckedTrigger, on_reply: OnReply, reply: Accepted | Exception
    ) -> None:
        """Pass the outcome on, or try again in another thread: the committing thread must not read the store."""
        outcome = reply if isinstance(reply, Exception) else _judge(submission, checked, reply)
        if isinstance(outcome, _Submission):
            self._again.submit(self._submit, outcome, on_reply)
        else:
            on_reply(outcome)

    def _check_in(self, submission: _Submission) -> CheckedTrigger:
        if submission.number > _TRIES:
            raise Unavailable("The webhook's registration keeps changing: send the trigger again.")
        if (new := submission.reused) is not None:
            error = IdempotencyKeyReused()
            return self._intake.refuse(submission.call, error, revision=new.revision, callback=new.callback)
        return self._intake.check_in(submission.call, fresh=submission.number > 1)

    def _checked(
        self, todo: Iterable[tuple[int, _Submission]], outcomes: dict[int, Accepted | RelayError]
    ) -> Iterator[_Listed]:
        """Yield the triggers that passed the check; store the errors of the others in ``outcomes``."""
        for index, submission in todo:
            try:
                checked = self._check_in(submission)
            except RelayError as error:
                outcomes[index] = error
            else:
                yield _Listed(index, submission, checked)

    def _committed(self, groups: Iterable[list[_Listed]]) -> Iterator[tuple[_Listed, Accepted | RelayError]]:
        """Commit groups in order; yield each trigger with its reply, or with the error of its whole group.

        The next group is checked while the server works on the previous one. Groups before a failed one stay accepted.
        """
        sent: deque[list[_Listed]] = deque()

        def batches() -> Iterator[tuple[Sequence[NewInvocation], Sequence[LaneMessage]]]:
            for group in groups:
                sent.append(group)
                news = [each.checked.new for each in group]
                yield news, self._messages(news)

        for reply in self._ledger.accept_in_turn(batches()):
            group = sent.popleft()
            if isinstance(reply, StoreFault) and len(group) > 1:
                yield from ((each, self._committed_alone(each)) for each in group)  # one may have made the others fail
            elif isinstance(reply, RelayError):
                yield from ((each, reply) for each in group)
            else:
                accepted, left = reply
                self._publisher.announce(left)
                yield from zip(group, accepted, strict=True)

    def _committed_alone(self, each: _Listed) -> Accepted | RelayError:
        try:
            return self._commit([each.checked.new])[0]
        except RelayError as error:
            return error

    def _commit(self, news: Sequence[NewInvocation]) -> list[Accepted]:
        accepted, left = self._ledger.accept(news, self._messages(news))
        self._publisher.announce(left)
        return accepted

    def _messages(self, news: Sequence[NewInvocation]) -> Sequence[LaneMessage]:
        return self._publisher.messages({new.lane for new in news}, self._ledger.keys.partition_of(news[0].plugin))


def accepted_or_raise(reply: Accepted | Exception) -> Accepted:
    """Return a reply that is an invocation; raise a reply that is an error."""
    if isinstance(reply, Exception):
        raise copy.copy(reply)  # a copy for each caller: a traceback belongs to one thread
    return reply


def _judge(submission: _Submission, checked: CheckedTrigger, accepted: Accepted) -> Accepted | RelayError | _Submission:
    """Return what the store's answer means for the caller: the invocation, an error, or another try."""
    if checked.refused is not None and accepted.verdict is not AcceptVerdict.KNOWN:
        if accepted.verdict is not AcceptVerdict.UNRECORDED:
            checked.refused.reference_id = accepted.reference_id
        return checked.refused
    match accepted.verdict:
        case AcceptVerdict.STALE:
            return submission.again()
        case AcceptVerdict.KEY_REUSED:
            return submission.again(checked.new)
        case AcceptVerdict.OVER_CAPACITY:
            return OverCapacity(retry_after_s=_CAPACITY_RETRY_S)
        case AcceptVerdict.KNOWN if accepted.state is None:
            return Expired(reference_id=accepted.reference_id)
        case _:
            return accepted


def _groups(listed: Iterable[_Listed], partition_of: Callable[[str], int]) -> Iterator[list[_Listed]]:
    """Split the triggers, in order, into groups that belong to one partition each."""
    group: list[_Listed] = []
    size_bytes, plugin = 0, ""
    for each in listed:
        new, more_bytes = each.checked.new, each.checked.size_bytes
        is_full = len(group) == GROUP_ITEMS or size_bytes + more_bytes > GROUP_BYTES
        if group and (is_full or (new.plugin != plugin and partition_of(new.plugin) != partition_of(plugin))):
            yield group
            group, size_bytes = [], 0
        group.append(each)
        size_bytes, plugin = size_bytes + more_bytes, new.plugin
    if group:
        yield group
