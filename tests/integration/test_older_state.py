"""A writer of the server restores one kind of record alone, of any age: that is refused or reported, and sends nothing.

The kinds are those of ``relay/store/keys/names.py`` that a history of decisions changes. Each is restored under a running
relay, and once more while all of its processes, or each of them, are started again.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from types import SimpleNamespace

import pytest
import redis

from relay.audit.entry import Act
from relay.audit.signing_keys import AuditSigner, new_private_text
from relay.audit.verifying import TrailCheck
from relay.registration.document import read_registrations
from relay.settings import Settings
from relay.store.keys import keyspace
from relay.store.keys.names import ROOT, SHARED_ROOT
from relay.store.trail.trail import Trail
from relay.wiring.runtime import cli_runtime
from tests.integration.api_harness import running_api
from tests.integration.test_writer import TEMPLATES, kind_of, snapshot, write
from tests.integration.worker_harness import worker_harness
from tests.processes import signal_group
from tests.receivers import raw_answer, receiver
from tests.store_keys import KEYS
from tests.timing import ANSWER_S, START_S, wait_until

#: Within this many seconds a restored record is refused or reported.
WITHIN_S = 5.0
AUDIT_KEY = new_private_text()
SIGNER = AuditSigner(AUDIT_KEY)
#: Kinds that decide about a key, a webhook or a secret. What is restored of any other kind gives no right (ADR 0025).
DECIDING = (
    *("key_decisions", "decisions", "api_key", "api_keys"),
    *("webhooks", "revision", "target", "last_revision", "users", "policy", "plugins"),
    *("secret", "secret_names", "secret_settings", "secret_users"),
)
#: Other kinds that change meanwhile: locks, alarms, counts, and what says which processes run.
OTHER = (
    *("expiry", "revisits", "confirmed", "shared_confirmed", "counting_lock", "alerts_lock", "sweeps", "backlog"),
    *("workers", "worker_lanes", "api_key_uses", "pending", "clock_jump"),
)


#: What the webhooks that refer to secrets, or did so, may send.
NEW_VALUES = {("/changed", "planted-new-value"), ("/removed", "none")}


@pytest.fixture(scope="module")
def harness(tmp_path_factory):
    settings = {"RELAY_AUTH_FAILURES": "1000000", "RELAY_AUDIT_KEY": AUDIT_KEY, "RELAY_LEASE_MARGIN": "2"}
    with worker_harness(tmp_path_factory, **settings) as work, receiver(serve) as endpoint:
        harness = SimpleNamespace(work=work, endpoint=endpoint, api=None, client=None)
        harness.client = redis.Redis.from_url(work.environ["RELAY_REDIS_URL"], socket_timeout=ANSWER_S)
        start(harness)
        yield a_history(harness)
        stop(harness)


def serve(connection, request):
    connection.send(raw_answer(200, b"{}", ("Content-Type", "application/json")))


def start(harness, *, api=True, worker=True):
    if worker:
        harness.work.start_worker()
    if api:
        harness.running = running_api(harness.work.environ)
        harness.api = harness.running.__enter__()


def stop(harness, *, api=True, worker=True):
    if worker:
        process = harness.work.workers.pop()
        signal_group(process)
        process.wait(START_S)
    if api:
        harness.running.__exit__(None, None, None)


def registered(harness, webhook_id, path, **fields):
    origin = f"http://127.0.0.1:{harness.endpoint.port}"
    harness.work.register({"id": webhook_id, "url": origin + path, "method": "POST", **fields})


def a_history(harness):
    """Make keys, webhooks and secrets, keep the store at several ages, and end, move, change, remove and pause them."""
    work, keys, policies = harness.work, harness.work.runtime.api_keys, harness.work.runtime.policies
    secrets = work.runtime.registry.secrets
    for name in ("CHANGED", "REMOVED"):
        secrets.set("acme", name, "planted-old-value")
        registered(harness, name.lower(), f"/{name.lower()}", headers={"X-Key": f"${{secret:{name}}}"})
    harness.mine = keys.create("acme", ["trigger", "operate"])[0]
    rotated_text, rotated = keys.create("acme", ["trigger", "operate"])
    revoked_text, revoked = keys.create("acme", ["trigger", "operate"])
    for webhook_id in ("moved", "gone", "held"):
        registered(harness, webhook_id, f"/{webhook_id}/old")
    harness.ages = [snapshot(harness.client)]
    registered(harness, "moved", "/moved/older")
    keys.rotate(rotated.id, 0)
    secrets.set("acme", "CHANGED", "planted-older-value")
    harness.ages.append(snapshot(harness.client))
    keys.revoke(revoked.id)
    registered(harness, "moved", "/moved/new", concurrency=2)
    policies.pause("acme", "held")
    secrets.set("acme", "CHANGED", "planted-new-value")
    registered(harness, "removed", "/removed", headers={"X-Key": "none"})
    secrets.remove("acme", "REMOVED")
    harness.ages.append(snapshot(harness.client))
    work.runtime.registry.remove("acme", "gone")
    keys.create("acme", ["trigger"])
    harness.ended = [rotated_text, revoked_text]
    harness.now = snapshot(harness.client)
    wait_until(lambda: all(listed(harness, key) == 401 for key in harness.ended), WITHIN_S)
    time.sleep(2.5)  # every process has read every decision
    return harness


def listed(harness, key):
    return harness.api.call("GET", "/v1/webhooks", key=key).status_code


def trigger(harness, webhook_id):
    headers = {"Prefer": "respond-async"}
    path = f"/v1/webhooks/{webhook_id}/trigger"
    return harness.api.call("POST", path, key=harness.mine, json={}, headers=headers).status_code


def of_kind(values, kind):
    return {name: value for name, value in values.items() if kind_of(name) == kind}


def changed_kinds(harness, age):
    then, now = harness.ages[age], harness.now
    names = [name for name in {*then, *now} if then.get(name) != now.get(name)]
    return Counter(kind_of(name) for name in names)


def restore(harness, kind, age):
    """Write every key of a kind as it was then; delete those that were made since."""
    then, now = of_kind(harness.ages[age], kind), of_kind(harness.now, kind)
    write(harness.client, dict.fromkeys({*then, *now}) | then)


def put_back(harness, kind):
    names = {name for name in snapshot(harness.client) if kind_of(name) == kind}
    write(harness.client, dict.fromkeys(names) | of_kind(harness.now, kind))
    wait_until(lambda: trigger(harness, "moved") == 202, 20)


def reports(harness):
    """Return how often processes have found older decisions, and have noted in the audit trails that they did."""
    trails = (Trail(harness.client, root) for root in (ROOT, SHARED_ROOT))
    return sum(Act.DECISIONS_RESTORE.encode() in entry for trail in trails for _, entry in trail.newest_first())


def assert_nothing_old_goes_on(harness, said):
    """Ask with ended keys and for webhooks as they were: for as long as a restored record may stay unnoticed."""
    before, until_s = len(harness.endpoint.requests), time.monotonic() + WITHIN_S / 2
    while time.monotonic() < until_s:
        for key in harness.ended:
            assert listed(harness, key) == 401, f"{said}: an ended key is taken"
        for webhook_id in ("moved", "gone", "held", "changed", "removed"):
            trigger(harness, webhook_id)
        time.sleep(0.3)
    sent = {(request.target, request.header("X-Key")) for request in list(harness.endpoint.requests)[before:]}
    assert sent <= {("/moved/new", None), *NEW_VALUES}, f"{said}: {sent} were sent"


def test_every_kind_that_a_decision_changes_is_restored(harness):
    found = set().union(*(changed_kinds(harness, age) for age in range(len(harness.ages))))
    assert {"key_decisions", "decisions", "api_key", "webhooks", "revision", "target", "policy", "secret"} <= found
    assert {kind for kind in found if kind not in OTHER and "audit" not in kind} <= {*DECIDING}
    assert {*DECIDING, *OTHER} <= TEMPLATES.keys()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("age", range(3))
def test_a_kind_restored_alone_under_a_running_relay_is_refused_or_reported(harness, age):
    for kind in DECIDING:
        if not changed_kinds(harness, age)[kind]:
            continue
        reported = reports(harness)
        restore(harness, kind, age)
        assert_nothing_old_goes_on(harness, f"{kind} of age {age}")
        if "decisions" in kind:
            assert reports(harness) > reported, f"{kind} of age {age} is not reported"
        if kind == "policy":
            # Workers look once a second, and restore what they have found altered twice in a row.
            wait_until(lambda: harness.client.hget(KEYS.policy("acme", "moved"), "concurrency") == b"2", WITHIN_S / 2)
        put_back(harness, kind)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("which", ["all", "api", "worker"])
def test_a_kind_restored_alone_while_processes_start_again_is_refused_or_reported(harness, which):
    parts = {"api": which in {"all", "api"}, "worker": which in {"all", "worker"}}
    for kind in DECIDING:
        if not changed_kinds(harness, 0)[kind]:
            continue
        stop(harness, **parts)
        restore(harness, kind, 0)
        start(harness, **parts)
        assert_nothing_old_goes_on(harness, f"{kind}, {which} started again")
        stop(harness, **parts)
        write(harness.client, dict.fromkeys({n for n in snapshot(harness.client) if kind_of(n) == kind}))
        write(harness.client, of_kind(harness.now, kind))
        start(harness, **parts)
        wait_until(lambda: trigger(harness, "moved") == 202, 20)


# -- numbers that are given again -----------------------------------------------------------------------------------------


FORGETTING = {
    "the counter": ("last_revision",),
    "the counter and the registration": ("last_revision", "webhooks", "revision", "target"),
    "the decisions, too": ("last_revision", "webhooks", "revision", "target", "decisions"),
}
PASTING = {"the target": ("target",), "the whole revision": ("target", "revision")}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("pasted", PASTING.values(), ids=PASTING)
@pytest.mark.parametrize("forgotten", FORGETTING.values(), ids=FORGETTING)
def test_a_number_that_is_given_again_brings_no_old_endpoint_back(harness, forgotten, pasted):
    """The worker has called the old endpoint, and so remembers it, under the number that is given again."""
    webhook_id = f"again{len(forgotten)}{len(pasted)}"
    old = f"/{webhook_id}/old"
    registered(harness, webhook_id, old)
    wait_until(lambda: trigger(harness, webhook_id) == 202, 20)
    wait_until(lambda: any(each.target == old for each in list(harness.endpoint.requests)), 20)
    before, values = len(harness.endpoint.requests), snapshot(harness.client)

    def of(kinds):
        return {
            name: value
            for name, value in values.items()
            if kind_of(name) in kinds and (webhook_id in name or kind_of(name) in {"webhooks", "decisions"})
        }

    write(harness.client, dict.fromkeys(of(forgotten)))
    fresh = cli_runtime(Settings.from_environ(harness.work.environ))  # a command that remembers nothing
    url = f"http://127.0.0.1:{harness.endpoint.port}/again/new"
    document = json.dumps({"id": webhook_id, "url": url, "method": "POST"})
    (applied,) = fresh.registry.apply("acme", read_registrations(document, fresh.rules, plugin="acme")[1])
    # It need not be current any more: another process may have put back the decisions that it remembers.
    assert fresh.registry.open_target("acme", webhook_id, applied.revision).endpoint.path == "/again/new"
    if "decisions" in forgotten:
        time.sleep(2.5)  # until every process has looked at the chain again
    numbered = {name.rpartition(":")[0] + f":{applied.revision}": value for name, value in of(pasted).items()}
    write(harness.client, numbered)
    until_s = time.monotonic() + WITHIN_S
    while time.monotonic() < until_s:
        trigger(harness, webhook_id)
        time.sleep(0.3)
    fresh.close()
    write(harness.client, dict.fromkeys(snapshot(harness.client)) | harness.now)
    time.sleep(2.5)
    sent = Counter(request.target for request in list(harness.endpoint.requests)[before:])
    assert sent[old] == 0


# -- the audit trail ------------------------------------------------------------------------------------------------------


@pytest.mark.timeout(300)
def test_the_end_of_a_trail_that_is_restored_under_running_workers_is_found(tmp_path_factory):
    """The attacker restores the trail from before an act, and hands the lock to the worker that did not sign the act."""
    with worker_harness(tmp_path_factory, RELAY_AUDIT_KEY=AUDIT_KEY) as work:
        work.register({"id": "moved", "url": "https://hook.example.com/", "method": "POST"})
        for group in ("bulk", "interactive"):
            work.start_worker(group)
        client = work.runtime.client
        trail, keys = Trail(client), {part: keyspace.audit(part) for part in ("entries", "segments", "head", "lock")}
        names = [alive.name.encode() for alive in work.runtime.workers.alive()]

        def found():
            return TrailCheck(trail.name, SIGNER.public, trail.beginning()).run(trail.blocks())

        wait_until(lambda: found().last and not found().unsigned, 20)
        before, signed = {part: client.dump(keys[part]) for part in keys if part != "lock"}, found().last
        work.runtime.policies.pause("acme", "moved")
        wait_until(lambda: found().last > signed, 20)
        (other,) = [name for name in names if name != client.get(keys["lock"])]
        pipeline = client.pipeline(transaction=True)
        for part, dumped in before.items():
            pipeline.delete(keys[part])
            if dumped is not None:
                pipeline.restore(keys[part], 0, dumped)
        pipeline.set(keys["lock"], other, px=5_000)
        pipeline.execute()
        wait_until(lambda: found().wrong is not None, WITHIN_S + 5)
        assert found().wrong.seq == signed + 1
        assert "audit_breach" in work.log.read_text()
