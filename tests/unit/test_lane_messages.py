"""Which things on a lane or among broadcasts reach Celery's own code: what it can parse, and of broadcasts, questions."""

from __future__ import annotations

import json
from base64 import b64encode
from contextlib import nullcontext
from types import SimpleNamespace

import gevent
import pytest
from celery.exceptions import WorkerShutdown
from kombu import Message, compression
from kombu.transport import resolve_transport

from relay.queue import LANES, Publisher, make_app
from relay.settings import Settings
from tests.timing import wait_until
from workers import broadcasts, lanes
from workers.broadcasts import QUESTIONS, Mailbox, is_question
from workers.lanes import is_envelope


def genuine(lane="bulk", partition=0):
    app = make_app(Settings.from_environ({"RELAY_REDIS_URL": "redis://127.0.0.1:1/0"}))
    ((_, message),) = Publisher(app, waiting=None, in_store=True).messages([lane], partition)
    return json.loads(message)


@pytest.mark.parametrize(
    ("error", "is_dropped"), [(KeyError, True), (OSError, False), (BrokenPipeError, False), (RuntimeError, False)]
)
def test_a_message_that_celery_cannot_take_is_dropped_and_acknowledged_unless_the_connection_is_lost(
    events_of, error, is_dropped
):
    class Broken:
        connection_errors, channel_errors = (OSError,), (RuntimeError,)

        def _deliver(self, _message, _queue):
            raise error

    class Transport(lanes._LaneDelivering, Broken):
        channels = ()

    transport, message, acknowledged, logged = Transport(), genuine(), [], events_of(lanes.log)
    transport.channels = [SimpleNamespace(qos=SimpleNamespace(ack=acknowledged.append))]
    with nullcontext() if is_dropped else pytest.raises(error):
        transport._deliver(message, "bulk")
    assert acknowledged == [message["properties"]["delivery_tag"]] * is_dropped
    assert [name for name, _ in logged] == [
        lanes.log.Event.INTERNAL_ERROR,
        lanes.log.Event.MESSAGE_DROPPED,
    ] * is_dropped


@pytest.fixture
def plain_kombu(monkeypatch):
    """Let the test change kombu's registers, and return that of transports, which begins empty."""
    for register in ("_encoders", "_decoders"):
        monkeypatch.setattr(compression, register, {})
    monkeypatch.setattr(lanes, "TRANSPORT_ALIASES", aliases := {})
    return aliases


@pytest.mark.parametrize("is_worker", [True, False])
def test_only_a_worker_waits_for_its_lanes_in_its_own_way_but_beside_it_too_what_comes_is_checked(
    monkeypatch, plain_kombu, is_worker
):
    monkeypatch.setattr(lanes, "is_module_patched", {"select": is_worker}.get)
    monkeypatch.setattr(lanes.redis, "poll", "kombu's")
    monkeypatch.setattr(lanes.functional, "sleep", "kombu's")
    lanes.use_checked_transports()
    waits = (lanes.LanePoller, gevent.sleep) if is_worker else ("kombu's", "kombu's")
    assert (lanes.redis.poll, lanes.functional.sleep) == waits
    used = {scheme: resolve_transport(at) for scheme, at in plain_kombu.items()}
    assert used == {"redis": lanes.Transport, "rediss": lanes.Transport, "sentinel": lanes.SentinelTransport}


def test_no_compressed_message_is_read(plain_kombu):
    compression.register(bytes, bytes, "as-it-is")
    message = {"body": b"1", "headers": {"compression": "as-it-is"}}
    assert Message(**message).body == b"1"
    lanes.use_checked_transports()
    assert [error[0] for error in Message(**message).errors] == [ValueError]


class Taken:
    """A transport of kombu's, with what was delivered to it."""

    connection_errors, channel_errors = (OSError,), ()

    def __init__(self):
        self.delivered = []

    def _deliver(self, message, queue):
        self.delivered.append((message, queue))


def other_envelope(**changes):
    return genuine() | {"headers": {}, "body": b64encode(b'{"method":"ping"}').decode()} | changes


@pytest.mark.parametrize(
    ("queue", "message", "dropped"),
    [
        *((lane, genuine(lane), None) for lane in LANES),
        *((lane, other_envelope(), None) for lane in LANES),
        *((lane, other_envelope(headers=None), lane) for lane in LANES),
        *(("bulk.celery.pidbox", message, None) for message in (other_envelope(), genuine())),
        ("bulk.celery.pidbox", other_envelope(headers=None), "broadcast"),
    ],
)
def test_lanes_and_broadcasts_take_what_has_the_form_of_a_message_alone(events_of, queue, message, dropped):
    class Transport(lanes._LaneDelivering, Taken):
        pass

    transport, logged = Transport(), events_of(lanes.log)
    transport._deliver(message, queue)
    assert transport.delivered == [(message, queue)] * (dropped is None)
    assert [(name, fields["lane"]) for name, fields in logged] == [(lanes.log.Event.MESSAGE_DROPPED, dropped)] * (
        dropped is not None
    )


def broken_envelopes():
    whole = other_envelope()
    for member in ("headers", "properties", "body", "content-type", "content-encoding"):
        yield f"without {member}", {name: value for name, value in whole.items() if name != member}
        for other in (None, 1, "x", [], ["x"]):
            yield f"{member}={other!r}", whole | {member: other}
    for member in ("delivery_info", "delivery_tag", "body_encoding"):
        properties = whole["properties"]
        yield f"without {member}", whole | {"properties": {k: v for k, v in properties.items() if k != member}}
        for other in (None, 1, [], b"x"):
            yield f"{member}={other!r}", whole | {"properties": properties | {member: other}}
    for body in ("", "!" + whole["body"], b64encode(b"{").decode(), b64encode(b"\xff").decode()):
        yield f"body={body!r}", whole | {"body": body}


@pytest.mark.parametrize("raw", [pytest.param(raw, id=what) for what, raw in broken_envelopes()])
def test_what_celery_could_not_parse_has_not_the_form_of_a_message(raw):
    assert is_envelope(other_envelope())
    assert not is_envelope(raw)


@pytest.mark.parametrize(
    ("read", "errors"), [("_brpop_read", (ValueError, RecursionError)), ("_receive", (RecursionError,))]
)
@pytest.mark.parametrize("error", [ValueError, RecursionError, OSError])
def test_what_cannot_be_decoded_is_dropped_from_the_lane_that_was_read_and_the_reading_goes_on(
    events_of, read, errors, error
):
    class Broken:
        _queue_cycle = SimpleNamespace(items=["interactive", "bulk"])

        def _brpop_read(self):
            raise error

        _receive = _brpop_read

    class Channel(lanes._LaneReading, Broken):
        pass

    logged = events_of(lanes.log)
    if error not in errors:
        with pytest.raises(error):
            getattr(Channel(), read)()
        return
    assert getattr(Channel(), read)() is True
    assert [fields["lane"] for _, fields in logged] == ["bulk" if read == "_brpop_read" else "broadcast"]


# -- broadcasts ---------------------------------------------------------------------------------------------------------

UUID = "0192f0c1-2c4e-7b3a-9d7e-4a5b6c7d8e9f"
REPLY_TO = {"exchange": "reply.celery.pidbox", "routing_key": UUID}


def asked(**changes):
    """Return a question as Celery asks it; a member that is given as ... is left out."""
    body = {"method": "active", "arguments": {"safe": True}, "destination": None, "pattern": None, "matcher": None}
    body |= {"ticket": UUID, "reply_to": REPLY_TO, **changes}
    return {name: value for name, value in body.items() if value is not ...}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        *({name: ...} for name in ("arguments", "destination", "pattern", "matcher", "ticket", "reply_to")),
        *({"arguments": arguments} for arguments in (None, {}, {"safe": None}, {"safe": False})),
        *({"method": "registered", "arguments": {"taskinfoitems": []}}, {"destination": []}, {"destination": ["w@h"]}),
        *({"method": method, "arguments": {}} for method in QUESTIONS),
    ],
)
def test_what_celery_asks_is_a_question(changes):
    assert is_question(asked(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        *({"method": method} for method in (..., None, 1, [], "no_such_method")),
        *(
            {"arguments": arguments}
            for arguments in ([1], "x", {"other": True}, {"safe": "x"}, {"safe": {}}, {"safe": 2})
        ),
        {"method": "no_such_method", "arguments": {}},
        *({"method": "ping", "arguments": {"safe": True}}, {"another": None}, {"pattern": "*"}, {"ticket": "x"}),
        *({"destination": destination} for destination in ("w@h", {}, [1], ["w@h", None])),
        *({"reply_to": reply_to} for reply_to in ("x", [], {}, {**REPLY_TO, "exchange": "relay"})),
        *({"reply_to": {**REPLY_TO, "routing_key": key}} for key in (None, 1, "bulk", f"{UUID}x")),
    ],
)
def test_nothing_else_is_a_question(changes):
    assert not is_question(asked(**changes))


@pytest.mark.parametrize("body", [None, 1, "x", [], {}])
def test_what_has_another_form_is_not_a_question(body):
    assert not is_question(body)


def test_of_celery_s_commands_a_worker_keeps_the_questions_alone(monkeypatch):
    def foreign(_state):
        """Stands for a question that another library has added."""

    known = broadcasts.control.Panel.data
    monkeypatch.setattr(broadcasts.control.Panel, "data", known | {"foreign": foreign})
    monkeypatch.setattr(broadcasts.pidbox, "gPidbox", Mailbox.__base__)
    assert known.keys() > QUESTIONS.keys()
    broadcasts.take_questions_alone()
    assert broadcasts.control.Panel.data.keys() == {*QUESTIONS, "foreign"}
    assert broadcasts.pidbox.gPidbox is Mailbox
    assert not is_question(asked(method="shutdown", arguments={}))


@pytest.mark.parametrize("is_asked", [True, False])
def test_a_mailbox_lets_celery_answer_a_question_without_its_sender_s_clock_and_drops_anything_else(
    monkeypatch, events_of, is_asked
):
    answered, logged = [], events_of(lanes.log)
    monkeypatch.setattr(Mailbox.__base__, "on_message", lambda _self, *given: answered.append(given))
    body = asked() if is_asked else asked(pattern="*")
    Mailbox.__new__(Mailbox).on_message(body, SimpleNamespace(headers={"clock": 2**70}))
    assert answered == [(body, None)] * is_asked
    assert [(name, fields["lane"]) for name, fields in logged] == [(lanes.log.Event.MESSAGE_DROPPED, "broadcast")] * (
        not is_asked
    )


@pytest.mark.parametrize(("beyond", "is_taken"), [(0, True), (4, False)])
def test_a_message_has_so_many_characters_and_no_more(beyond, is_taken):
    message = genuine()
    message["body"] = b64encode(b'"%b"' % (b"x" * ((lanes._MAX_CHARS + beyond) // 4 * 3 - 2))).decode()
    assert len(message["body"]) == lanes._MAX_CHARS + beyond
    assert is_envelope(message) == is_taken


def consumer_named(name):
    """Return as much of a Celery consumer as a mailbox reads before it asks for questions."""
    return SimpleNamespace(name=name, connection_errors=(ConnectionError,))


def test_whatever_the_answering_has_met_is_logged_and_it_goes_on(monkeypatch, events_of):
    said, warned, mailbox = events_of(broadcasts.log), [], Mailbox.__new__(Mailbox)
    errors = [ValueError(), ConnectionResetError(), OSError()]

    def loop(_consumer):
        if errors:
            raise errors.pop(0)

    monkeypatch.setattr(broadcasts, "_PAUSE_S", 0.0)
    monkeypatch.setattr(broadcasts.pidbox.logger, "warning", warned.append)
    mailbox.loop, mailbox._starts, mailbox._node_stopped = loop, 1, object()
    mailbox._listen(consumer_named("one"), 1)
    assert [(fields["where"], fields["kind"]) for _, fields in said] == [
        ("broadcast", "ValueError"),
        ("broadcast", "OSError"),
    ]
    assert len(warned) == 1
    assert "Connection to broker lost" in warned[0]


def listening(monkeypatch, loop):
    """Return a mailbox that listens with ``loop``, without pauses."""
    monkeypatch.setattr(broadcasts, "_PAUSE_S", 0.0)
    monkeypatch.setattr(broadcasts.log, "fault", lambda *_: None)
    mailbox = Mailbox.__new__(Mailbox)
    mailbox.loop, mailbox._node_stopped = loop, object()
    return mailbox


@pytest.mark.parametrize("error", [OSError(), ConnectionResetError()], ids=repr)
def test_a_mailbox_that_is_told_to_stop_while_its_connection_is_lost_listens_no_more(monkeypatch, error):
    heard = []

    def loop(consumer):
        heard.append(consumer.name)
        mailbox._node_stopped = None
        raise error

    mailbox = listening(monkeypatch, loop)
    mailbox.start(consumer_named("one"))
    wait_until(lambda: heard, sleep=gevent.sleep)
    gevent.sleep(0.01)
    assert heard == ["one"]


def test_a_wait_for_the_broker_that_ends_because_the_worker_stops_ends_the_listening_alone(monkeypatch):
    def loop(_consumer):
        raise WorkerShutdown(0)

    mailbox = listening(monkeypatch, loop)
    mailbox._listen(
        consumer_named("one"), mailbox._starts
    )  # what a greenlet raises of this kind, gevent raises in the main one


def test_a_mailbox_that_starts_again_listens_once(monkeypatch):
    heard = []

    def loop(consumer):
        heard.append(consumer.name)
        if consumer.name == "one":
            mailbox.start(consumer_named("other"))
            raise OSError

    mailbox = listening(monkeypatch, loop)
    mailbox.start(consumer_named("one"))
    wait_until(lambda: len(heard) == 2, sleep=gevent.sleep)
    gevent.sleep(0.01)
    assert heard == ["one", "other"]
