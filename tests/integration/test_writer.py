"""An attacker who may write anything to the server can neither read anything through the relay nor gain a right.

Every kind of key in ``relay/store/keys/names.py`` is overwritten in every way below, while the API and a worker run. The
writer has API keys of the plugin ``acme``, one of them revoked; the plugin ``other`` is his target.
"""

from __future__ import annotations

import ast
import base64
import json
import re
import socket
import string
import threading
import time
from collections import defaultdict
from contextlib import contextmanager
from types import SimpleNamespace

import psutil
import pytest
import redis
import requests

from relay.domain.invocation import State
from relay.domain.reference_id import new_reference_id
from relay.store.keys import names as key_names
from relay.store.keys.names import CHANNELS, PARTITIONED, PREFIX, ROOT, SHARED, SHARED_ROOT, TRAIL
from relay.vault import Vault, payload_owner, result_owner
from tests.integration.api_harness import running_api
from tests.integration.worker_harness import worker_harness
from tests.receivers import raw_answer, receiver
from tests.store_keys import KEYS
from tests.timing import ANSWER_S, wait_until

MINE = "what-the-writer-sends"
#: Texts that only their owners may see; the secrets of acme's webhooks must be hidden even from its own callers.
CANARIES = {
    "payload of other": "payload-of-other-3b1c",
    "answer to other": "answer-to-other-77aa",
    "secret of other": "secret-of-other-90ce",
    "secret of acme": "secret-of-acme-5d21",
    "token of a chain": "token-of-a-chain-41f0",
}
#: Kinds of keys that a process caches for a second.
REMEMBERED = {"api_key", "api_keys", "key_decisions", "decisions", "webhooks", "revision", "plugins"}
_SAMPLES = {"lane": "bulk", "kind": "error", "minute": "29000000", "hour": "480000", "process": "p1", "request": "r1"}


#: The template of each kind of key, with its root.
TEMPLATES = {
    **{kind: (ROOT, rest) for kind, rest in {**PARTITIONED, **TRAIL}.items()},
    **{kind: (SHARED_ROOT, rest) for kind, rest in SHARED.items()},
    **{f"shared {kind}": (SHARED_ROOT, rest) for kind, rest in TRAIL.items()},
}


def pattern_of(template):
    root, rest = template
    parts = {None: "", "kind": ".*"}  # a "kind" part may have several words
    pieces = (re.escape(text) + parts.get(name, "[^:]*") for text, name, *_ in string.Formatter().parse(rest))
    return re.compile(re.escape(root) + "".join(pieces))


PATTERNS = {kind: pattern_of(template) for kind, template in TEMPLATES.items()}
#: The template with the most literal text comes first: `...:last` is not a revision.
ORDER = sorted(PATTERNS, key=lambda kind: -len(re.sub(r"{\w+}", "", TEMPLATES[kind][1])))


def kind_of(key):
    return next((kind for kind in ORDER if PATTERNS[kind].fullmatch(key)), None)


def serve(connection, request):
    """Answer with the request's content, and a secret of the endpoint's own."""
    path = request.target.split("?")[0]
    said = {
        "/login": {"token": CANARIES["token of a chain"]},
        "/theirs": {"said": CANARIES["answer to other"]},
    }.get(path, {"headers": dict(request.headers)})
    connection.send(raw_answer(200, json.dumps(said).encode(), ("Content-Type", "application/json")))


def webhook(origin, webhook_id, path, secret, **more):
    headers = {"X-Api-Key": CANARIES[secret]}
    return {"id": webhook_id, "url": origin + path, "method": "POST", "headers": headers, **more}


@pytest.fixture(scope="module")
def harness(tmp_path_factory):
    """A running relay with a history: calls of two plugins, a chain, a replay, a removed webhook, an ended key."""
    settings = {"RELAY_LEASE_MARGIN": "2", "RELAY_AUTH_FAILURES": "1000000"}
    with (
        worker_harness(tmp_path_factory, **settings) as work,
        receiver(serve) as endpoint,
        running_api(work.environ) as api,
    ):
        work.start_worker()
        yield a_history(work, api, endpoint)


def a_history(work, api, endpoint):
    origin = f"http://127.0.0.1:{endpoint.port}"
    work.register(webhook(origin, "changed", "/old", "secret of acme"))
    work.register(
        webhook(origin, "open", "/open", "secret of acme"),
        webhook(origin, "hidden", "/hidden", "secret of acme", hidden=True),
        webhook(origin, "gone", "/gone", "secret of acme"),
        webhook(origin, "changed", "/new", "secret of acme"),
        webhook(origin, "login", "/login", "secret of acme", hidden=True),
        {"id": "telling", "steps": [{"webhook": "login", "mask": ["steps[0].data.token"]}, {"webhook": "hidden"}]},
    )
    work.register(webhook(origin, "theirs", "/theirs", "secret of other"), plugin="other")
    keys = work.runtime.api_keys
    mine = keys.create("acme", ["trigger", "operate"])[0]
    narrow = keys.create("acme", ["trigger"])[0]
    ended, ended_row = keys.create("acme", ["trigger", "operate"])
    harness = SimpleNamespace(work=work, api=api, endpoint=endpoint, mine=mine, narrow=narrow, ended=ended)
    harness.client = redis.Redis.from_url(work.environ["RELAY_REDIS_URL"], socket_timeout=ANSWER_S)
    harness.first = snapshot(harness.client)
    foreign = api.foreign_key
    own = trigger(api, mine, "open", {"sent": MINE})
    chain = trigger(api, mine, "telling", None)
    theirs = trigger(api, foreign, "theirs", {"sent": CANARIES["payload of other"]})
    trigger(api, mine, "gone", None)
    work.finals([own, chain, theirs])
    harness.refs = {"own": own, "chain": chain, "theirs": theirs}
    harness.steps = work.record(chain).steps
    answer = api.call("POST", "/v1/replays", key=mine, json={"referenceIds": [own]})
    assert answer.status_code == 202, answer.text
    wait_until(lambda: replay_of(api, mine)["state"] == "done", 30)
    keys.revoke(ended_row.id)
    work.runtime.registry.remove("acme", "gone")
    wait_until(lambda: get(api, ended, "/v1/webhooks").status_code == 401, 5)
    harness.used = kinds_by_question(harness)
    return harness


def replay_of(api, key):
    return get(api, key, "/v1/replays").json()["replays"][0]


def get(api, key, path):
    return api.call("GET", path, key=key)


def trigger(api, key, webhook_id, data):
    headers = {"Prefer": "respond-async"}
    answer = api.call("POST", f"/v1/webhooks/{webhook_id}/trigger", key=key, json={"data": data}, headers=headers)
    assert answer.status_code == 202, answer.text
    return answer.json()["referenceId"]


def all_names(client):
    return {name.decode() for name in client.scan_iter(f"{PREFIX}*", count=1000)}


def snapshot(client):
    """Return every key of the store with its dumped value."""
    names = sorted(all_names(client))
    pipeline = client.pipeline(transaction=False)
    for name in names:
        pipeline.dump(name)
    return {name: dump for name, dump in zip(names, pipeline.execute(), strict=True) if dump is not None}


# -- what the writer may write ------------------------------------------------------------------------------------------


def other_s(names, name):
    """Return a key of the same kind with another owner."""
    others = [each for each in names if each != name]
    foreign = [each for each in others if ":other" in each]
    return (foreign or others or [None])[0]


def another_s_value(harness, names, values):
    """Replace the value of every key by that of another owner's key."""
    return {name: values.get(other_s(names, name)) for name in names}


def an_older_value(harness, names, values):
    """Restore the old value of every key; delete it if it had none."""
    return {name: harness.first.get(name) for name in names}


def values_in_turn(harness, names, values):
    """Rotate the values among the keys of a kind."""
    return {name: values.get(names[(index + 1) % len(names)]) for index, name in enumerate(names)}


def nothing(harness, names, values):
    """Delete every key."""
    return dict.fromkeys(names)


def junk(harness, names, values):
    """Write arbitrary data of the right type to every key."""
    scratch = "scratch"
    made = {}
    for name in names:
        harness.client.delete(scratch)
        of_type = {
            b"hash": lambda: harness.client.hset(scratch, mapping={"plugin": "acme", "state": "delivered", "x": "1"}),
            b"list": lambda: harness.client.rpush(scratch, harness.refs["theirs"], "1"),
            b"set": lambda: harness.client.sadd(scratch, harness.refs["theirs"], "other", "theirs"),
            b"zset": lambda: harness.client.zadd(scratch, {harness.refs["theirs"]: 1, "other/theirs": 2}),
        }
        of_type.get(harness.client.type(name), lambda: harness.client.set(scratch, b"1"))()
        made[name] = harness.client.dump(scratch)
    harness.client.delete(scratch)
    return made


WAYS = [another_s_value, an_older_value, values_in_turn, nothing, junk]


def names_of(harness, values):
    """Return the existing names of each kind; for a kind without any, a name that the writer invents."""
    by_kind = {kind: [] for kind in TEMPLATES}
    for name in values:
        assert kind_of(name), f"{name} is in no list"
        by_kind[kind_of(name)].append(name)
    parts = {"plugin": "acme", "webhook": "open", "revision": "1", "ref": harness.refs["own"], **_SAMPLES}
    for kind, names in by_kind.items():
        root, rest = TEMPLATES[kind]
        if not names:
            names.append(root + rest.format_map(defaultdict(lambda: "made-up", parts)))
    return by_kind


def write(client, values):
    pipeline = client.pipeline(transaction=True)
    for name, value in values.items():
        pipeline.delete(name)
        if value is not None:
            pipeline.restore(name, 0, value)
    pipeline.execute()


# -- what the writer then asks for --------------------------------------------------------------------------------------


def questions(harness):
    """Yield every request that a plugin may make, as ``(key, method, path, body, whether it must be refused)``."""
    refs = [*harness.refs.values(), *harness.steps]
    for ref in refs:
        yield harness.mine, "GET", f"/v1/invocations/{ref}", None, False
    for path in ("/v1/webhooks", "/v1/invocations?limit=50", "/v1/replays", "/v1/stats", "/v1/groups", "/v1/traffic"):
        yield harness.mine, "GET", path, None, False
        yield harness.ended, "GET", path, None, True
    for webhook_id in ("open", "theirs", "hidden", "gone", "login"):
        forbidden = webhook_id != "open"
        yield harness.mine, "GET", f"/v1/webhooks/{webhook_id}", None, forbidden
        yield harness.mine, "POST", f"/v1/webhooks/{webhook_id}/trigger", {"data": {"sent": MINE}}, forbidden
    yield harness.mine, "POST", "/v1/replays", {"referenceIds": [*refs], "includeUncertain": True}, False
    yield harness.narrow, "GET", "/v1/invocations", None, True
    yield harness.mine, "GET", "/metrics", None, True
    yield f"whk_{'0' * 16}_{'a' * 43}", "GET", "/v1/webhooks", None, True


def kinds_by_question(harness):
    """Return for each question the kinds of keys that its answer uses; no other kind can change the answer."""
    used = []
    with requests.Session() as session:
        for question in questions(harness):
            with commands(harness) as told:
                ask(harness, session, question)
            used.append(
                {kind_of(word.decode("latin-1")) for words in told for word in words if word.startswith(b"relay:")}
            )
    return used


def concerned(harness, kind):
    """Return the questions whose answers a kind of key may change. A worker may use any kind, so all triggers count."""
    every = list(questions(harness))
    if kind in REMEMBERED:
        return every
    return [each for each, used in zip(every, harness.used, strict=True) if each[1] == "POST" or kind in used]


def ask(harness, session, question):
    key, method, path, body, _ = question
    headers = {"Authorization": f"Bearer {key}", "Prefer": "respond-async"}
    return session.request(method, harness.api.url + path, headers=headers, json=body, timeout=30)


def ask_all(harness, asked, said):
    """Ask, and return what was revealed or granted but must not be."""
    wrong = []
    with requests.Session() as session:
        for question in asked:
            _, method, path, _, forbidden = question
            answer = ask(harness, session, question)
            wrong += [
                f"{said}: {method} {path} tells the {what}" for what, text in CANARIES.items() if text in answer.text
            ]
            if forbidden and answer.status_code < 400:
                wrong.append(f"{said}: {method} {path} is granted ({answer.status_code})")
            if answer.status_code >= 400 and "code" not in answer.json():
                wrong.append(f"{said}: {method} {path} is refused without a code")
    return wrong


def test_every_list_of_keys_is_written_by_these_tests():
    lists = [value for name, value in vars(key_names).items() if isinstance(value, dict) and not name.startswith("__")]
    assert lists == [PARTITIONED, SHARED, TRAIL, CHANNELS]


def test_each_kind_that_answers_are_made_of_is_used_by_some_question(harness):
    used = set().union(*harness.used) | REMEMBERED
    assert used >= {
        "record",
        "result",
        "plugin_index",
        "webhook_index",
        "ends",
        "replays",
        "replay",
        "policy",
        "minute",
    }


def test_the_questions_of_these_tests_are_answered_where_nothing_was_altered(harness):
    """Otherwise refusals would prove nothing. Also, the texts that must stay hidden are in the server, sealed."""
    assert ask_all(harness, questions(harness), "unaltered") == []
    own = get(harness.api, harness.mine, f"/v1/invocations/{harness.refs['own']}")
    assert own.json()["result"]["status"] == 200
    theirs = get(harness.api, harness.api.foreign_key, f"/v1/invocations/{harness.refs['theirs']}")
    assert CANARIES["answer to other"] in theirs.text


@pytest.mark.timeout(600)
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_no_key_that_a_writer_alters_tells_him_anything_or_gives_him_a_right(harness, way):
    values = snapshot(harness.client)
    wrong, written = [], set()
    for kind, names in names_of(harness, values).items():
        write(harness.client, way(harness, names, values))
        written.add(kind)
        if kind in REMEMBERED:
            time.sleep(1.1)  # until caches of processes have expired, so that the attack is complete
        wrong += ask_all(harness, concerned(harness, kind), f"{way.__name__} of {kind}")
        gone = values.keys() - all_names(harness.client)  # deleting keys is the one thing that the writer can do
        write(harness.client, {name: values.get(name) for name in {*names, *gone}})
    write(
        harness.client, dict.fromkeys(all_names(harness.client) - values.keys()) | values
    )  # what was asked leaves nothing
    time.sleep(1.1)
    assert wrong == []
    assert written == TEMPLATES.keys()
    assert harness.api.process.poll() is None
    assert_sent_nowhere_else(harness)


def assert_sent_nowhere_else(harness):
    """Check that the writer's calls reach only his one endpoint, and others' secrets only their own endpoints."""
    for request in list(harness.endpoint.requests):
        path = request.target.split("?")[0]
        if MINE.encode() in request.body:
            assert path == "/open"
        if CANARIES["secret of other"] in request.head.decode("latin-1"):
            assert path == "/theirs"
        if CANARIES["payload of other"].encode() in request.body:
            assert path == "/theirs"


# -- calls that wait ----------------------------------------------------------------------------------------------------


def test_no_field_of_a_waiting_call_s_record_sends_it_where_its_sender_may_not(harness):
    """Each field of a waiting call is replaced by that of every other record, and by values that no record has."""
    policies, client = harness.work.runtime.policies, harness.client
    policies.pause("acme", "open")
    others = [client.hgetall(KEYS.record(ref)) for ref in (*harness.refs.values(), *harness.steps)]
    made_up = [
        {b"webhook": b"hidden"},
        {b"webhook": b"gone"},
        {b"webhook": b"changed", b"revision": b"1"},
        {b"webhook": b"hidden", b"parent": harness.refs["chain"].encode(), b"parentStep": b"1", b"parentItem": b"0"},
        {b"webhook": b"telling", b"chain": b"1", b"pins": b'{"hidden":1,"login":1}', b"step": b"-1", b"open": b"0"},
        {b"plugin": b"other", b"webhook": b"theirs"},
        {b"caller": b"cli", b"replayOf": harness.refs["theirs"].encode()},
    ]
    fields = {name for other in others for name in other} - {b"state"}  # a call in a final state is not sent at all
    changes = [{name: other[name]} for name in sorted(fields) for other in others if name in other] + made_up
    refs = [trigger(harness.api, harness.mine, "open", {"sent": MINE}) for _ in changes]
    unchanged = trigger(harness.api, harness.mine, "open", {"sent": MINE})
    for ref, change in zip(refs, changes, strict=True):
        client.hset(KEYS.record(ref), mapping=change)
    for ready in policies.resume("acme", "open"):
        harness.work.runtime.publisher.publish_ready(ready)
    assert harness.work.final(unchanged).state is State.DELIVERED
    wait_until(lambda: not _unfinished(harness, refs), 60, every_s=0.2)
    assert_sent_nowhere_else(harness)
    for ref in refs:
        for key in (harness.mine, harness.api.foreign_key):
            shown = get(harness.api, key, f"/v1/invocations/{ref}").text
            assert not [what for what, text in CANARIES.items() if text in shown]


def _unfinished(harness, refs):
    """Return the calls that a worker may still claim, without those so damaged that no script can read them."""
    states = [harness.client.hget(KEYS.record(ref), "state") for ref in refs]
    return [state for state in states if state in {b"queued", b"sending"}]


def test_contents_pasted_into_a_waiting_call_are_not_sent(harness):
    """Each sealed value of the store is used as the payload of a waiting call."""
    policies, client = harness.work.runtime.policies, harness.client
    policies.pause("acme", "open")
    sealed = [client.get(name) for name in client.scan_iter(f"{PREFIX}*") if client.type(name) == b"string"]
    refs = [trigger(harness.api, harness.mine, "open", {"sent": MINE}) for _ in sealed]
    before = len(harness.endpoint.requests)
    for ref, value in zip(refs, sealed, strict=True):
        client.set(KEYS.payload(ref), value)
    for ready in policies.resume("acme", "open"):
        harness.work.runtime.publisher.publish_ready(ready)
    records = harness.work.finals(refs)
    assert {record.outcome for record in records} == {"prepare_failed"}
    assert len(harness.endpoint.requests) == before


# -- idempotency keys ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefer", ["respond-async", "wait=2"])
def test_an_idempotency_key_that_the_writer_points_at_another_s_call_brings_nothing_of_it(harness, prefer):
    def ask(prefer):
        headers = {"Idempotency-Key": "one-order", "Prefer": prefer}
        return harness.api.call(
            "POST", "/v1/webhooks/open/trigger", key=harness.mine, json={"data": {"n": 1}}, headers=headers
        )

    own = ask("respond-async").json()["referenceId"]
    harness.work.final(own)
    theirs = trigger(harness.api, harness.api.foreign_key, "theirs", {"sent": CANARIES["payload of other"]})
    harness.work.final(theirs)
    (name,) = harness.client.scan_iter(f"{ROOT}p:acme:idem:open:*")
    assert harness.client.hget(name, "ref").decode() == own
    harness.client.hset(name, "ref", theirs)
    answer = ask(prefer)
    harness.client.delete(name)
    assert not [what for what, text in CANARIES.items() if text in answer.text]
    assert prefer == "respond-async" or answer.status_code >= 400, answer.text


# -- messages ------------------------------------------------------------------------------------------------------------


def test_a_message_that_the_writer_leaves_on_a_lane_runs_nothing_and_stops_nobody(harness, tmp_path):
    """The messages: invalid JSON, JSON that is too deep, another task's, and a pickle that would create a file."""
    proof = tmp_path / "proof"
    pickled = base64.b64encode(b"cos\nsystem\n(S'touch " + str(proof).encode() + b"'\ntR.").decode()
    properties = {"correlation_id": "1", "delivery_tag": "1", "delivery_info": {"exchange": "", "routing_key": "bulk"}}

    def message(body, kind, task):
        headers = {"task": task, "id": "1", "lang": "py", "argsrepr": "()", "kwargsrepr": "{}"}
        envelope = {"body": body, "content-encoding": "binary", "content-type": kind, "headers": headers}
        return json.dumps({**envelope, "properties": {**properties, "body_encoding": "base64"}})

    call = base64.b64encode(json.dumps([[["no-id", {"$ref": "x"}, 7]], {}, {}]).encode()).decode()
    foreign = base64.b64encode(b"[[], {}, {}]").decode()
    follow = {
        "task": "os.system",
        "args": ["true"],
        "kwargs": {},
        "options": {"queue": "interactive"},
        "immutable": True,
    }
    _, genuine = harness.work.runtime.publisher.messages(["bulk"], 0)[0]
    linked = json.loads(genuine)
    embed = {"callbacks": [follow], "errbacks": None, "chain": [follow], "chord": None}
    linked["body"] = base64.b64encode(json.dumps([["bulk", 0], {}, embed]).encode()).decode()
    harness.client.lpush(
        "bulk",
        *("no JSON", "[" * 100_000, b"\xff\xfe", "{}", "null"),
        *(message(pickled, kind, "relay.run") for kind in ("application/x-python-serialize", "application/data")),
        message(foreign, "application/json", "os.system"),
        message(call, "application/json", "relay.run"),
        json.dumps(linked),
    )
    refs = [trigger(harness.api, harness.mine, "open", {"sent": MINE}) for _ in range(5)]
    assert {record.state for record in harness.work.finals(refs)} == {State.DELIVERED}
    wait_until(lambda: harness.client.llen("bulk") == 0, 20)
    assert not harness.client.exists("interactive")  # Celery would have published the linked task there
    assert harness.work.workers[0].poll() is None
    assert not proof.exists()


# -- what reaches callers who wait --------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_store", [False, True], ids=["carried", "in the store"])
def test_a_notice_that_the_writer_publishes_brings_a_caller_nothing_of_others(harness, in_store):
    """The writer publishes another plugin's sealed result on every channel, with the id of an awaited call."""
    policies, client = harness.work.runtime.policies, harness.client
    policies.pause("acme", "open")
    told = []
    path = f"{harness.api.url}/v1/webhooks/open/trigger"
    wait_s = 8 if in_store else 60
    headers = {"Authorization": f"Bearer {harness.mine}", "Prefer": f"wait={wait_s}"}
    caller = threading.Thread(target=lambda: told.append(requests.post(path, json={}, headers=headers, timeout=90)))
    calls = KEYS.open_calls("acme", "open")
    others = set(client.zrange(calls, 0, -1))  # left by earlier tests; no caller waits for these
    caller.start()
    wait_until(lambda: set(client.zrange(calls, 0, -1)) - others, 10)
    theirs = trigger(harness.api, harness.api.foreign_key, "theirs", {"sent": CANARIES["payload of other"]})
    harness.work.final(theirs)
    stolen = client.get(KEYS.result(theirs))
    # Only the caller's: an invalid notice makes the listener subscribe again, and it misses notices meanwhile.
    awaited = [ref.decode() for ref in set(client.zrange(calls, 0, -1)) - others]
    wait_until(lambda: client.pubsub_channels(f"{PREFIX}*notice:*"), 10)
    channels = client.pubsub_channels(f"{PREFIX}*notice:*")
    assert awaited
    for channel in channels:
        for ref in awaited:
            if in_store:
                client.set(KEYS.result(ref), stolen)
            head, carried = f"{ref} delivered answered 200 0 -", b"" if in_store else stolen
            client.publish(channel, f"{head} {len(carried) or -1}\n".encode() + carried)
            client.publish(channel, stolen)  # an invalid notice
    started_s = time.monotonic()
    caller.join()
    answered_at_once = time.monotonic() - started_s < 30
    for ready in policies.resume("acme", "open"):
        harness.work.runtime.publisher.publish_ready(ready)
    assert CANARIES["answer to other"] not in told[0].text
    if not in_store:  # the notice counted as the end of the call, but its result could not be opened
        assert answered_at_once
        assert told[0].status_code >= 400
        assert told[0].json()["code"]
    for ref in awaited:
        client.delete(KEYS.result(ref))


# -- the keys of the API ------------------------------------------------------------------------------------------------


def test_the_api_s_keys_open_no_secret_at_any_moment_of_a_chain_s_life(harness):
    """MONITOR shows every write, also of scripts; the API's keys open only few of the sealed values ever written."""
    vault = Vault.from_text(harness.work.environ["RELAY_DATA_KEYS"])
    secrets = [CANARIES[what].encode() for what in ("secret of acme", "token of a chain")]
    with monitored(harness) as contents:
        chains = [trigger(harness.api, harness.mine, "telling", None) for _ in range(3)]
        harness.work.finals(chains)
    records = {ref: harness.work.record(ref) for ref in chains}
    records |= {step: harness.work.record(step) for chain in chains for step in records[chain].steps}
    data_keys, told = set(vault.key_ids), set()
    for (ref, part), sealed in contents:
        if ref not in records:
            continue
        record, is_open = records[ref], Vault.key_id_of(sealed) in data_keys
        assert is_open == (part == "result" or (part == "payload" and record.step_of is None)), part
        stamp = harness.work.runtime.registry.revision("acme", record.webhook_id, record.revision).stamp
        owners = {"result": result_owner("acme", ref), "payload": payload_owner("acme", ref, record.purpose, stamp)}
        plain = vault.open(sealed, owners[part]) if is_open else b""
        assert not [secret for secret in secrets if secret in plain or secret in sealed], part
        told.add((part, is_open))
    assert told == {("payload", True), ("payload", False), ("result", True), ("raw", False), ("secrets", False)}
    targets = [harness.client.get(name) for name in harness.client.scan_iter(f"{ROOT}target:*")]
    assert targets
    assert not [sealed for sealed in targets if Vault.key_id_of(sealed) in data_keys]


@contextmanager
def monitored(harness):
    """Collect all writes of invocations' contents, as ``((reference id, part), value)``, until the context ends."""
    contents = []
    with commands(harness) as told:
        yield contents
    for command, *words in told:
        name = words[0].decode("latin-1") if words else ""
        if command.upper() == b"SET" and name.startswith(f"{ROOT}inv:"):
            contents.append((tuple(name.removeprefix(f"{ROOT}inv:").split(":")), words[1]))


@contextmanager
def commands(harness):
    """Collect the words of every command that the server runs, also in scripts, until the context ends."""
    word = re.compile(rb'"((?:[^"\\]|\\.)*)"')
    told, lines = [], []
    with socket.create_connection(("127.0.0.1", harness.work.server.port)) as connection:
        connection.sendall(b"MONITOR\r\n")
        file = connection.makefile("rb")
        assert file.readline() == b"+OK\r\n"

        def read():
            while b"the end of what is told" not in (line := file.readline()):
                lines.append(line)

        reader = threading.Thread(target=read)
        reader.start()
        try:
            yield told
        finally:
            harness.client.echo("the end of what is told")
            reader.join()
            file.close()
    told += [
        [ast.literal_eval(f'b"{each.decode("latin-1")}"') for each in word.findall(line)] or [b""] for line in lines
    ]


def test_the_api_is_not_given_the_keys_of_targets(harness):
    assert "RELAY_TARGET_KEYS" not in psutil.Process(harness.api.process.pid).environ()


def test_what_a_made_up_record_leaves_out_is_named_and_it_has_no_result(harness):
    made_up = new_reference_id()
    harness.client.hset(KEYS.record(made_up), mapping={"plugin": "acme", "state": "delivered"})
    record = get(harness.api, harness.mine, f"/v1/invocations/{made_up}").json()
    assert record["result"] == {"status": None, "data": None, "error": None}
    assert {"revision", "outcome", "finishedAt"} <= set(record["damaged"])
    harness.client.delete(KEYS.record(made_up))
