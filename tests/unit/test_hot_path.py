"""What a worker does for one call, from its record to its settlement, it does once."""

from __future__ import annotations

import fakeredis
import pytest

from relay.answer.endpoint_answer import EndpointAnswer
from relay.domain.invocation import Outcome, Sent, State
from relay.domain.reference_id import new_reference_id
from relay.egress import AddressPolicy
from relay.executor.call_plans import CallPlans
from relay.executor.conclusion import Conclusion
from relay.executor.payloads import Payloads
from relay.executor.preparation import Preparation
from relay.request.trigger import Trigger
from relay.store.ledger.transitions import CallRecord, settle_args
from relay.store.registry.webhooks import Registry
from relay.vault import Vault, payload_owner
from tests.counted import Counted
from tests.unit.test_call_plans import apply, hook

VAULT = Vault.from_text(Vault.new_key_text())
BODY = b'{"ok": true, "items": [1, 2, 3], "note": "nothing to hide"}'


@pytest.fixture(scope="module")
def parts():
    registry = Registry(fakeredis.FakeRedis(server=fakeredis.FakeServer()), VAULT, VAULT)
    apply(registry, hook("hot", headers={"X-Key": "a-secret-of-the-hot-path", "X-Note": ""}, queryParams=["page"]))
    plans = CallPlans(registry, AddressPolicy(["127.0.0.1"]))
    return Preparation(plans, Payloads(VAULT, VAULT), None, None), Conclusion(VAULT, None, None)


def record(preparation):
    ref = new_reference_id()
    trigger = Trigger({"id": 7, "text": "hello"}, {"X-Note": "hi"}, {"page": "1"})
    made = CallRecord(ref, State.QUEUED, "acme", "hot", 1, 1, b"", None, 20_000, "bulk")
    return made._replace(
        payload=VAULT.seal(
            trigger.to_json(), payload_owner("acme", ref, made.purpose, preparation._plans.stamp("acme", "hot", 1))
        )
    )


def answer():
    return EndpointAnswer(Outcome.ANSWERED, Sent.ANSWERED, 200, "application/json", BODY, 5, len(BODY), None, 1_000)


def carried_out(parts):
    preparation, conclusion = parts
    call = preparation.prepare(record(preparation), waits=True)
    return settle_args(conclusion.conclude(call, "token", answer(), 1_000))


def test_an_answer_is_read_once(parts):
    carried_out(parts)
    call = parts[0].prepare(record(parts[0]), waits=True)
    with Counted() as counted:
        parts[1].conclude(call, "token", answer(), 1_000)
    assert counted.functions["read_body"] == 1
    assert counted.functions["_parse"] == 1
    assert counted.functions["hide"] == 1
