"""Notices, from the script that sends them to the API process that receives them."""

from __future__ import annotations

import logging
import threading
from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace
from zlib import crc32

import pytest
import redis

from relay.domain.invocation import Outcome, Sent, State
from relay.domain.reference_id import new_reference_id
from relay.errors import Unavailable
from relay.store.keys import keyspace
from relay.store.keys.keyspace import SINGLE, Keyspace
from relay.store.keys.names import partition_root
from relay.store.ledger import notices as notices_module
from relay.store.ledger.notices import Notice, Subscription, read_notices
from relay.store.ledger.reading import RecordReader
from relay.store.server.availability import SHORT_S, patience_s
from relay.store.server.replicas import require_replicas
from relay.telemetry import log
from tests.contract.ledger import LIMITS, Ledger
from tests.timing import BUSY_S


@pytest.fixture
def ledger(valkey):
    with valkey.client() as client:
        yield Ledger(client)


@pytest.fixture
def told(ledger):
    """The notices that the process ``api1`` receives from the moment that it listens."""
    notices, listens, heard, stop = [], threading.Event(), threading.Event(), threading.Event()

    def deliver(notice):
        notices.append(notice)
        heard.set()

    subscription = Subscription(ledger.client, "api1")
    thread = threading.Thread(target=subscription.run, args=(deliver, listens.set, stop))
    thread.start()
    assert listens.wait(BUSY_S)
    yield lambda: heard.wait(BUSY_S) and notices
    stop.set()
    thread.join()


def test_whoever_listens_is_told_of_every_renewed_subscription(ledger):
    renewals, stop = threading.Semaphore(0), threading.Event()
    subscription = Subscription(ledger.client, "api1")
    thread = threading.Thread(target=subscription.run, args=(lambda _: None, renewals.release, stop))
    thread.start()
    try:
        for _ in range(3):
            assert renewals.acquire(timeout=BUSY_S)
            assert ledger.client.execute_command("CLIENT", "KILL", "TYPE", "pubsub") == 1
        assert renewals.acquire(timeout=BUSY_S)
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize(
    ("error", "event"),
    [
        (redis.ConnectionError(), "store_away"),
        (redis.ResponseError("NOPERM"), "store_away"),
        (KeyError(), "internal_error"),
    ],
)
def test_only_a_fault_of_our_own_is_said_to_be_one(ledger, monkeypatch, error, event):
    said, stop, subscription = [], threading.Event(), Subscription(ledger.client, "api1")

    def fail(*_):
        raise error

    def say(name, **_):
        said.append(name)
        stop.set()

    monkeypatch.setattr(subscription, "_listen", fail)
    monkeypatch.setattr(log, "event", say)
    subscription.run(said.append, stop.set, stop)
    assert said == [event]


def test_a_result_is_heard_as_it_was_sealed_and_no_library_writes_it_down(ledger, told, caplog):
    with caplog.at_level(logging.DEBUG, "push_response"):  # the logger with which redis-py would log them
        ref, token = ledger.claimed(waiter="api1")
        ledger.store.settle([ledger.settlement(ref, token, result=b"\x00sealed\xff\n")])
        (notice,) = told()
    assert (notice.reference_id, notice.state, notice.sealed) == (ref, State.DELIVERED, b"\x00sealed\xff\n")
    assert "sealed" not in caplog.text


@pytest.mark.parametrize(("carried", "size"), [(b"", 0), (b"\0sealed", 7), (b"", -1)])
def test_a_notice_that_was_kept_until_replicas_confirmed_says_where_its_result_is(valkey, ledger, carried, size):
    ref, token = ledger.claimed()
    ledger.store.settle([ledger.settlement(ref, token, result=carried)])
    with valkey.client() as client:
        require_replicas(client, 1)
        subscription = Subscription(client, "door")
        (notice,) = read_notices(b"%s delivered answered 200 0 - %d\n%s" % (ref.encode(), size, carried))
        assert subscription._confirmed([notice]) == []
        subscription._scripts._replicas.count = 0  # from now on all is confirmed
        subscription._confirm_at_s = 0.0
        (told,) = subscription._confirmed_since()
        assert (told.reference_id, told.sealed, told.in_store) == (ref, None, size != 0)


@pytest.mark.parametrize("most", [2, 3])
def test_while_a_partition_does_not_confirm_later_notices_of_it_wait_behind_the_first(
    valkey, ledger, monkeypatch, most
):
    monkeypatch.setattr(notices_module, "_MOST_UNCONFIRMED", most)
    monkeypatch.setattr("relay.store.server.replicas.WAIT_MS", 20)
    refs = []
    with valkey.client() as client:
        require_replicas(client, 1)
        subscription = Subscription(client, "door")
        for _ in range(3):
            ref, token = ledger.claimed()
            ledger.store.settle([ledger.settlement(ref, token)])
            refs.append(ref)
            (notice,) = read_notices(b"%s delivered answered 200 0 - 0\n" % ref.encode())
            assert subscription._confirmed([notice]) == []
        assert list(subscription._confirmed_since()) == []  # it was asked just now
        subscription._confirm_at_s = 0.0
        assert list(subscription._confirmed_since()) == []
        subscription._scripts._replicas.count = 0  # from now on all is confirmed
        subscription._confirm_at_s = 0.0
        assert [notice.reference_id for notice in subscription._confirmed_since()] == refs[-most:]
        assert list(subscription._confirmed_since()) == []


def test_a_confirmed_end_is_told_at_once_unless_an_earlier_one_of_its_partition_is_not_confirmed_yet():
    keys, away, asked = Keyspace(2), {partition_root(0)}, []
    plugins = [next(name for name in "abcdefgh" if keys.partition_of(name) == number) for number in range(2)]
    message = b"%s delivered answered 200 0 - 3\nabc"
    first, second, third = (
        list(read_notices(b"".join(message % new_reference_id(plugin).encode() for plugin in plugins)))
        for _ in range(3)
    )

    def run(name, refs, root):
        asked.append((name, root, refs))
        if root in away:
            raise Unavailable
        return [1] * len(refs)

    subscription = Subscription(redis.Redis(port=1), "door", keys)
    subscription._scripts = SimpleNamespace(waits=True, run=run)
    assert subscription._confirmed(first) == first[1:]
    away.clear()
    assert subscription._confirmed(second) == second[1:]
    assert asked[2:] == [("ended", partition_root(1), [second[1].reference_id])]
    assert list(subscription._confirmed_since()) == []
    subscription._confirm_at_s = 0.0
    told = list(subscription._confirmed_since())
    assert told == [each[0]._replace(sealed=None, in_store=True) for each in (first, second)]
    assert subscription._confirmed(third) == third


def test_a_notice_of_an_end_that_a_failover_has_undone_is_told_to_nobody(valkey, ledger):
    ended, token = ledger.claimed()
    ledger.store.settle([ledger.settlement(ended, token)])
    undone = [ledger.claimed()[0], ledger.accepted(), new_reference_id()]
    with valkey.client() as client:
        require_replicas(client, 1)
        subscription = Subscription(client, "door")
        said = b"".join(b"%s delivered answered 200 0 - 0\n" % ref.encode() for ref in [*undone, ended])
        assert subscription._confirmed(list(read_notices(said))) == []
        subscription._scripts._replicas.count = 0  # from now on all is confirmed
        subscription._confirm_at_s = 0.0
        assert [notice.reference_id for notice in subscription._confirmed_since()] == [ended]


def test_an_end_is_read_once_the_replicas_that_are_asked_for_have_it(valkey, ledger):
    ended, token = ledger.claimed()
    ledger.store.settle([ledger.settlement(ended, token)])
    sending = ledger.claimed()[0]
    plugin = ledger.store.find(ended).plugin
    assert ledger.store.get_confirmed(plugin, ended).final  # no replica is asked for
    with valkey.client() as client:
        require_replicas(client, 1)
        store = Ledger(client).store
        assert not store.get_confirmed(plugin, sending).final
        assert store.get(plugin, ended).final, "who does not wait is told at once"
        for read in (store.get_confirmed, partial(store.join, process="api1")):
            with pytest.raises(Unavailable):
                read(plugin, ended)


def test_an_end_that_a_failover_undoes_meanwhile_is_not_told(ledger):
    ended, token = ledger.claimed()
    ledger.store.settle([ledger.settlement(ended, token)])
    told = [1]
    scripts = SimpleNamespace(
        waits=True, run=lambda name, refs, _root: told if (name, refs) == ("ended", [ended]) else None
    )
    reader = RecordReader(ledger.client, scripts, SINGLE, LIMITS)
    plugin = ledger.store.find(ended).plugin
    assert reader.get_confirmed(plugin, ended).final
    told[0] = 0  # as the new primary says, which does not have it
    with pytest.raises(Unavailable):
        reader.get_confirmed(plugin, ended)


def test_every_notice_of_a_message_is_read_wherever_its_result_is():
    refs = [new_reference_id() for _ in range(4)]
    ends = (
        "delivered answered 200 0 answered 3\na\nb",
        "delivered answered 503 1 answered -1\n",
        "unreachable dns_failed 0 1 no 0\n",
        "cancelled - - - - 0 a newer word\n",
    )
    message = "".join(f"{ref} {end}" for ref, end in zip(refs, ends, strict=True)).encode()
    assert list(read_notices(message)) == [
        Notice(refs[0], State.DELIVERED, Outcome.ANSWERED, 200, False, Sent.ANSWERED, b"a\nb"),
        Notice(refs[1], State.DELIVERED, Outcome.ANSWERED, 503, True, Sent.ANSWERED, None, in_store=True),
        Notice(refs[2], State.UNREACHABLE, Outcome.DNS_FAILED, 0, True, Sent.NO, None),
        Notice(refs[3], State.CANCELLED, None, None, None, None, None),
    ]


class Channel:
    """A channel on which messages come at their seconds; each poll takes its whole time."""

    def __init__(self, now_s, messages, port=1):
        self._now_s, self._messages = now_s, messages
        self.said = []  # what was asked for, and when
        self.connection_pool = SimpleNamespace(connection_kwargs={"host": "here", "port": port})

    def pubsub(self, **_):
        return nullcontext(self)

    def subscribe(self, channel):
        self.said.append((channel, self._now_s[0], patience_s()))

    def ping(self):
        self.said.append(("ping", round(self._now_s[0], 2), patience_s()))

    def get_message(self, timeout):
        self._now_s[0] += timeout
        return self._messages.pop(round(self._now_s[0], 2), None)


PONG, SUBSCRIBED = {"type": "pong"}, {"type": "subscribe"}


@pytest.fixture
def now_s(monkeypatch):
    now_s = [100.0]
    monkeypatch.setattr(notices_module, "time", SimpleNamespace(monotonic=lambda: now_s[0]))
    return now_s


@pytest.mark.parametrize(
    ("silence", "polls", "pings", "given_up_s"),
    [
        ("_OF_A_SERVER", {101.0: SUBSCRIBED, 107.0: PONG}, [106.0, 112.0], 117.0),
        ("_OF_A_CLUSTER", {100.25: SUBSCRIBED, 101.0: PONG}, [100.75, 101.5], 102.0),
    ],
)
def test_a_quiet_channel_is_tested_and_then_given_up_and_another_server_asked(
    monkeypatch, now_s, silence, polls, pings, given_up_s
):
    subscription, renewed, refreshed = Subscription(redis.Redis(port=1), "api1"), [], []
    turn = (crc32(b"api1") + 1) % 2  # processes spread over the servers
    used, other = Channel(now_s, dict(polls), port=1 + turn), Channel(now_s, {}, port=2 - turn)
    subscription._silence = getattr(notices_module, silence)

    def refresh(_, *, at_most_once_in_s):
        refreshed.append(at_most_once_in_s)

    monkeypatch.setattr(notices_module, "primaries_of", lambda _: [used, other])
    monkeypatch.setattr(notices_module, "refresh_primaries", refresh)
    assert list(subscription._listen(lambda: renewed.append(now_s[0]), threading.Event())) == []
    assert now_s[0] == given_up_s
    assert renewed == [min(polls), given_up_s], "once it is subscribed, and once it may have missed something"
    channel = keyspace.notice("api1")
    assert used.said == [(channel, 100.0, SHORT_S), *(("ping", at_s, -1.0) for at_s in pings)]
    assert list(subscription._listen(lambda: None, threading.Event())) == []
    assert other.said[0][0] == channel
    assert refreshed == [1.0, 1.0]


def test_a_message_of_another_release_makes_the_waiters_read_their_records_and_hides_no_notice(monkeypatch, now_s):
    ref, renewed, stop = new_reference_id(), [], threading.Event()
    good = f"{ref} cancelled - - - - 0\n".encode()
    unknown = (b"a new form\n", good + b"no line", good.replace(b"cancelled", b"later"))
    messages = {101.0 + number: {"type": "message", "data": data} for number, data in enumerate((*unknown, good))}
    subscription = Subscription(redis.Redis(port=1), "api1")
    monkeypatch.setattr(notices_module, "primaries_of", lambda _: [Channel(now_s, messages)])
    heard = []
    for notice in subscription._listen(lambda: renewed.append(now_s[0]), stop):
        heard.append((now_s[0], notice.reference_id))
        stop.set()
    assert (renewed, heard, now_s[0]) == ([101.0, 102.0, 103.0], [(104.0, ref)], 104.0)


class Waits(threading.Event):
    """Stops after so many waits, which take no time, and keeps how long they were to take."""

    def __init__(self, most):
        super().__init__()
        self.taken, self._most = [], most

    def wait(self, timeout=None):
        self.taken.append(timeout)
        if len(self.taken) == self._most:
            self.set()
        return self.is_set()


def test_a_store_that_was_away_is_back_once_it_is_heard_also_without_a_notice(monkeypatch):
    noted, ways = [], iter(["away", "quiet", "away", "notice", "away"])
    noting = SimpleNamespace(note=lambda _: noted.append("away"), succeeded=lambda: noted.append("back"))
    monkeypatch.setattr(notices_module, "Failures", lambda what: noting if what == "notices" else None)
    subscription, waits = Subscription(redis.Redis(port=1), "api1"), Waits(3)

    def listen(*_):
        way = next(ways)
        if way == "notice":
            yield way
        if way == "away":
            raise Unavailable

    subscription._listen = listen
    subscription.run(lambda _: None, lambda: None, waits)
    assert noted == ["away", "back", "away", "back", "back", "away"]


def test_the_pauses_between_tries_grow_to_a_second_and_are_short_again_after_a_notice():
    answers, waits = iter([None] * 7 + ["notice"] + [None] * 3), Waits(10)
    subscription = Subscription(redis.Redis(port=1), "api1")

    def listen(*_):
        if (answer := next(answers)) is not None:
            yield answer
        raise Unavailable

    subscription._listen = listen
    subscription.run(lambda _: None, lambda: None, waits)
    assert waits.taken == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 0.05, 0.1, 0.2]
