"""Whatever is broadcast to workers, they answer questions afterwards, and are as they were."""

from __future__ import annotations

import json
import socket
from base64 import b64encode

import pytest
import redis
from celery import Celery
from celery.worker.control import Panel

from tests.timing import ANSWER_S, wait_until

from .worker_harness import worker_harness

CHANNEL = "/0.celery.pidbox"
UUID = "0189c6b4-8f1e-4d3a-9c55-2f6a1b7e0d42"
WORKER = f"bulk1@{socket.gethostname()}"
#: Commands of Celery that change a worker, with valid arguments.
COMMANDS = {
    "cancel_consumer": {"queue": "bulk"},
    "add_consumer": {"queue": "other"},
    "pool_shrink": {"n": 3},
    "pool_grow": {"n": 3},
    "pool_restart": {},
    "autoscale": {"max": 1, "min": 1},
    "shutdown": {},
    "rate_limit": {"task_name": "relay.run", "rate_limit": "1/h"},
    "time_limit": {"task_name": "relay.run", "hard": 1, "soft": 1},
    "revoke": {"task_id": UUID, "terminate": True},
    "revoke_by_stamped_headers": {"headers": {"a": "b"}, "terminate": True},
    "terminate": {"signal": "KILL", "task_id": UUID},
    "election": {"id": "1", "topic": "x", "action": "y"},
    "disable_events": {},
    "enable_events": {},
    "heartbeat": {},
    "hello": {"from_node": "x", "revoked": [UUID]},
}


@pytest.fixture(scope="module")
def harness(tmp_path_factory):
    with worker_harness(tmp_path_factory) as harness:
        harness.start_worker("bulk")
        harness.asking = Celery("asking", broker=harness.environ["RELAY_REDIS_URL"], set_as_current=False)
        wait_until(lambda: ask(harness, "ping", timeout=1))  # it beats before it listens
        yield harness
        harness.asking.close()


@pytest.fixture
def client(harness):
    with redis.Redis.from_url(harness.environ["RELAY_REDIS_URL"], socket_timeout=ANSWER_S) as client:
        yield client


def ask(harness, question, timeout=10):
    return (getattr(harness.asking.control.inspect([WORKER], timeout=timeout), question)() or {}).get(WORKER)


def state(harness):
    stats = ask(harness, "stats")
    return stats["pool"]["max-concurrency"], stats["pid"], [each["name"] for each in ask(harness, "active_queues")]


def envelope(body, **changes):
    raw = {
        "body": b64encode(json.dumps(body).encode()).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"clock": 3, "expires": None},
        "properties": {
            "delivery_mode": 2,
            "delivery_info": {"exchange": "celery.pidbox", "routing_key": ""},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": UUID,
        },
    }
    return raw | changes


def question(**changes):
    body = {"method": "ping", "arguments": {}, "destination": None, "pattern": None, "matcher": None, "ticket": UUID}
    return body | {"reply_to": {"exchange": "reply.celery.pidbox", "routing_key": UUID}} | changes


ODD = (None, True, 1, 2**70, -1.5, "", "x", [], [[]], {}, {"a": {}}, "relay:{0}:parked")


def malformed():
    yield from (b"", b"{", b"\xff\xfe", b"[" * 100_000, b"nan", b"1e999999", b'"text"', b"{}", b"[]", b"null", b"0")
    whole = envelope(question())
    for name in whole:
        yield json.dumps({key: value for key, value in whole.items() if key != name}).encode()
        yield from (json.dumps(whole | {name: odd}).encode() for odd in ODD)
    for name in whole["properties"]:
        for odd in ODD:
            yield json.dumps(whole | {"properties": whole["properties"] | {name: odd}}).encode()
        yield json.dumps(whole | {"properties": {k: v for k, v in whole["properties"].items() if k != name}}).encode()
    for odd in ODD:
        yield json.dumps(whole | {"headers": {"clock": odd}}).encode()
        yield json.dumps(envelope(odd)).encode()
        for name in question():
            yield json.dumps(envelope(question(**{name: odd}))).encode()
        for name in ("exchange", "routing_key"):
            reply_to = question()["reply_to"] | {name: odd}
            yield json.dumps(envelope(question(reply_to=reply_to))).encode()
        for name in ("safe", "with_defaults", "taskinfoitems", "state", "self", "__class__"):
            yield json.dumps(envelope(question(method="conf", arguments={name: odd}))).encode()
    yield json.dumps(envelope("x" * 1_000_000)).encode()
    yield json.dumps(whole | {"compression": "zlib", "headers": {"compression": "application/x-gzip"}}).encode()


def test_no_broadcast_ends_the_answering_or_makes_a_worker_write_where_it_is_told_to(harness, client):
    before, keys = state(harness), {key for key in client.keys("*") if b"kombu" not in key}
    for number, raw in enumerate(malformed()):
        client.publish(CHANNEL, raw)
        if number % 60 == 0:
            assert ask(harness, "ping") == {"ok": "pong"}, raw[:300]
    assert state(harness) == before
    written = {key for key in client.keys("*") if b"kombu" not in key} - keys
    assert not [
        key for key in written if key != f"{UUID}.reply.celery.pidbox".encode() and not key.startswith(b"relay:")
    ]
    assert not client.exists("relay:{0}:parked")


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_changes_a_worker(harness, command):
    before = state(harness)
    replies = harness.asking.control.broadcast(command, COMMANDS[command], reply=True, timeout=1)
    assert "ok" not in str(replies)
    assert state(harness) == before


def test_every_command_of_celery_that_changes_a_worker_is_tried():
    changing = {name for name, about in Panel.meta.items() if about.type == "control"}
    assert changing <= COMMANDS.keys()


def test_a_worker_whose_mailbox_lost_its_connection_says_so_and_answers_again(harness, client):
    before = len(harness.log.read_bytes())
    listening = [each for each in client.client_list() if each["psub"] == "1"]
    assert listening
    for each in listening:
        client.client_kill_filter(_id=each["id"])
    wait_until(lambda: ask(harness, "ping", timeout=1) == {"ok": "pong"}, 40)
    said = [json.loads(line) for line in harness.log.read_bytes()[before:].splitlines()]
    warnings = {(line["level"], line["event"]) for line in said if line["level"] != "info"}
    assert warnings == {("warning", "pidbox: Connection to broker lost. Trying to re-establish the connection...")}


def test_all_that_flower_s_pages_ask_is_answered(harness):
    for asked in ("ping", "stats", "active_queues", "registered", "scheduled", "active", "reserved", "revoked", "conf"):
        assert ask(harness, asked) is not None, asked
