import copy
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import pytest

from relay.accept.groupcommit import GroupCommit
from relay.errors import StoreFault, Unavailable


class Recorder:
    """A commit that records its groups, and can be held up."""

    def __init__(self):
        self.groups = []
        self.entered = threading.Semaphore(0)
        self.go_on = threading.Event()
        self.go_on.set()

    def __call__(self, items):
        self.groups.append(list(items))
        self.entered.release()
        assert self.go_on.wait(10)
        return [item * 10 for item in items]


def commits(recorder, *, max_items=128, max_bytes=1_000_000):
    return GroupCommit(recorder, max_items=max_items, max_bytes=max_bytes)


def submit(commit, item, size_bytes):
    """Submit one item and wait for its reply."""
    told = SimpleQueue()
    commit.submit(item, size_bytes, told.put)
    reply = told.get(timeout=60)
    if isinstance(reply, Exception):
        raise copy.copy(reply)
    return reply


def brought(commit):
    """Return how many items were submitted so far."""
    return commit._waiting.qsize() + sum(map(len, commit._commit.groups))


def submit_all(commit, items, pool, size_bytes=1):
    """Submit items in order: each is queued or taken before the next is submitted."""
    futures = []
    for item in items:
        before = brought(commit)
        futures.append(pool.submit(submit, commit, item, size_bytes))
        deadline = time.monotonic() + 5
        while brought(commit) == before and time.monotonic() < deadline:
            time.sleep(0.0005)
    return futures


def held_up(commit, recorder, pool, item=0):
    """Start a commit and hold it up, so that the next items wait."""
    recorder.go_on.clear()
    first = pool.submit(submit, commit, item, 1)
    assert recorder.entered.acquire(timeout=5)
    return first


@pytest.mark.parametrize(("is_silent", "reached"), [(True, [[0]]), (False, [[0], [1], [2]])])
def test_what_waits_behind_a_commit_that_waited_in_vain_fails_with_it(monkeypatch, is_silent, reached):
    """A store that refuses at once is asked for each group; only one that is silent would hold them all for long."""
    monkeypatch.setattr("relay.accept.groupcommit.SILENT_S", 0.0 if is_silent else 60.0)
    recorder = Recorder()

    def refuse(items):
        recorder(items)
        raise Unavailable

    refuse.groups = recorder.groups
    commit = commits(refuse, max_items=1)
    with ThreadPoolExecutor(8) as pool:
        first = held_up(commit, recorder, pool)
        rest = submit_all(commit, [1, 2], pool)
        commit.close()
        recorder.go_on.set()
        for each in (first, *rest):
            with pytest.raises(Unavailable):
                each.result(10)
    assert recorder.groups == reached
    commit._committer.join(10)
    assert not commit._committer.is_alive()


def test_a_lone_item_is_committed_at_once_and_alone():
    recorder = Recorder()
    commit = commits(recorder)
    assert [submit(commit, 1, 1), submit(commit, 2, 1)] == [10, 20]
    assert recorder.groups == [[1], [2]]


def test_what_arrives_during_a_commit_becomes_one_group_in_order():
    recorder = Recorder()
    commit = commits(recorder)
    with ThreadPoolExecutor(8) as pool:
        first = held_up(commit, recorder, pool)
        rest = submit_all(commit, [1, 2, 3, 4], pool)
        recorder.go_on.set()
        assert [future.result(50) for future in (first, *rest)] == [0, 10, 20, 30, 40]
    assert recorder.groups == [[0], [1, 2, 3, 4]]


def test_no_group_waits_for_more_to_arrive():
    permits, timeouts = threading.Semaphore(0), []

    class Permitted(Recorder):
        def __call__(self, items):
            replies = super().__call__(items)
            assert permits.acquire(timeout=50)
            return replies

    recorder = Permitted()
    commit = commits(recorder)

    class Noted(SimpleQueue):
        def get(self, block=True, timeout=None):
            timeouts.append(timeout)
            return super().get(block, timeout)

    commit._waiting = Noted()
    with ThreadPoolExecutor(8) as pool:
        futures = submit_all(commit, [0], pool)
        assert recorder.entered.acquire(timeout=50)
        futures += submit_all(commit, [1, 2, 3], pool)
        permits.release()
        assert recorder.entered.acquire(timeout=50)  # a group of several is being committed
        futures += submit_all(commit, [4, 5], pool)
        permits.release(2)
        assert [future.result(50) for future in futures] == [0, 10, 20, 30, 40, 50]
    assert recorder.groups == [[0], [1, 2, 3], [4, 5]]
    assert set(timeouts) == {None}


def test_groups_have_at_most_so_many_items():
    recorder = Recorder()
    commit = commits(recorder, max_items=2)
    with ThreadPoolExecutor(8) as pool:
        first = held_up(commit, recorder, pool)
        rest = submit_all(commit, [1, 2, 3], pool)
        recorder.go_on.set()
        for future in (first, *rest):
            future.result(50)
    assert recorder.groups == [[0], [1, 2], [3]]


def test_groups_are_bounded_by_bytes_and_a_larger_item_goes_alone():
    recorder = Recorder()
    commit = commits(recorder, max_bytes=100)
    with ThreadPoolExecutor(8) as pool:
        first = held_up(commit, recorder, pool)
        rest = [
            *submit_all(commit, [1, 2], pool, 50),
            *submit_all(commit, [3], pool, 10),
            *submit_all(commit, [4], pool, 500),
            *submit_all(commit, [5], pool, 10),
        ]
        recorder.go_on.set()
        for future in (first, *rest):
            future.result(50)
    assert recorder.groups == [[0], [1, 2], [3], [4], [5]]


def test_what_a_commit_raises_reaches_every_caller_of_the_group_as_its_own_error():
    class Failing(Recorder):
        def __call__(self, items):
            super().__call__(items)
            if len(items) > 1:
                raise Unavailable("away", retry_after_s=3)
            return items

    recorder = Failing()
    commit = commits(recorder)
    with ThreadPoolExecutor(8) as pool:
        first = held_up(commit, recorder, pool)
        rest = submit_all(commit, [1, 2, 3], pool)
        recorder.go_on.set()
        assert first.result(5) == 0
        raised = [future.exception(5) for future in rest]
    assert [(type(error), error.message, error.retry_after_s) for error in raised] == [(Unavailable, "away", 3)] * 3
    assert len({id(error) for error in raised}) == 3
    assert submit(commit, 7, 1) == 7  # the next item is committed as if nothing had happened


@pytest.mark.parametrize("error", [StoreFault("planted"), ValueError("planted")], ids=repr)
@pytest.mark.parametrize("failing", [1, 2, 3])
def test_an_item_that_makes_its_group_fail_fails_alone(error, failing):
    class Failing(Recorder):
        def __call__(self, items):
            replies = super().__call__(items)
            if failing in items:
                raise error
            return replies

    recorder, told = Failing(), SimpleQueue()
    commit = commits(recorder)
    with ThreadPoolExecutor(1) as pool:
        held_up(commit, recorder, pool)
        for item in (1, 2, 3):
            commit.submit(item, 1, lambda reply, item=item: told.put((item, reply)))
        recorder.go_on.set()
        replies = [told.get(timeout=60) for _ in range(3)]
    assert replies == [(item, error if item == failing else 10 * item) for item in (1, 2, 3)]
    assert recorder.groups == [[0], [1, 2, 3], [1], [2], [3]]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_commit_with_another_number_of_replies_answers_nobody_with_the_reply_of_another(count):
    recorder, told = Recorder(), SimpleQueue()
    commit = commits(lambda items: (recorder(items) * 3)[: count if len(items) > 1 else 1])
    with ThreadPoolExecutor(1) as pool:
        first = held_up(commit, recorder, pool)
        for item in (1, 2):
            commit.submit(item, 1, told.put)
        recorder.go_on.set()
        assert first.result(60) == 0
        assert [type(told.get(timeout=60)) for _ in (1, 2)] == [RuntimeError] * 2
        assert submit(commit, 4, 1) == 40


def test_a_caller_that_cannot_be_told_keeps_no_other_from_its_reply(monkeypatch):
    faults, recorder, told, error = [], Recorder(), SimpleQueue(), KeyError("planted")
    monkeypatch.setattr("relay.accept.groupcommit.log.fault", lambda *given: faults.append(given))

    def fail(_reply):
        raise error

    commit = commits(recorder)
    with ThreadPoolExecutor(1) as pool:
        held_up(commit, recorder, pool)
        for item, deliver in ((1, told.put), (2, fail), (3, told.put)):
            commit.submit(item, 1, deliver)
        recorder.go_on.set()
        assert [told.get(timeout=60) for _ in range(2)] == [10, 30]
        assert submit(commit, 4, 1) == 40
    assert faults == [(error, "deliver")]


def test_a_reply_can_be_delivered_instead_of_waited_for():
    told = threading.Event()
    replies = []

    def deliver(reply):
        replies.append(reply)
        told.set()

    commits(Recorder()).submit(4, 1, deliver)
    assert told.wait(5)
    assert replies == [40]


def test_under_many_threads_every_caller_gets_its_own_reply():
    def commit_slowly(items):
        time.sleep(0.0005)
        return [item * 10 for item in items]

    commit = GroupCommit(commit_slowly, max_items=16, max_bytes=1000)
    with ThreadPoolExecutor(32) as pool:
        replies = list(pool.map(lambda item: submit(commit, item, 1), range(2000), timeout=60))
    assert replies == [item * 10 for item in range(2000)]


def test_who_comes_while_a_group_is_committed_for_too_long_is_told_so_at_once():
    begun, goes_on, replies = threading.Event(), threading.Event(), SimpleQueue()

    def commit(items):
        begun.set()
        assert goes_on.wait(60)
        return items

    commits = GroupCommit(commit, max_items=8, max_bytes=1024, patience_s=0.0)
    commits.submit("first", 1, replies.put)
    assert begun.wait(60)
    commits.submit("second", 1, replies.put)
    assert isinstance(replies.get(timeout=60), Unavailable)
    goes_on.set()
    assert replies.get(timeout=60) == "first"
    commits.submit("third", 1, replies.put)
    assert replies.get(timeout=60) == "third"


def test_a_closed_one_commits_what_waits_and_its_thread_ends():
    going_on, replies = threading.Event(), []

    def commit(items):
        going_on.wait(20)
        return items

    commits = GroupCommit(commit, max_items=1, max_bytes=100)
    for item in ("one", "two"):
        commits.submit(item, 1, replies.append)
    thread = commits._committer
    commits.close()
    assert thread.is_alive()
    going_on.set()
    thread.join(20)
    assert (replies, thread.is_alive()) == (["one", "two"], False)


def test_one_that_has_nothing_to_do_ends_when_it_is_closed():
    commits = GroupCommit(list, max_items=1, max_bytes=100)
    commits.close()  # it has no thread yet
    commits = GroupCommit(list, max_items=1, max_bytes=100)
    answered = threading.Event()
    commits.submit("one", 1, lambda _: answered.set())
    assert answered.wait(20)
    commits.close()
    commits._committer.join(20)
    assert not commits._committer.is_alive()
