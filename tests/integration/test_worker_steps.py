"""Each step that a worker makes for a call, with the most that it may get: the event loop goes on beside it.

Here counts the processor time of the loop's own thread. How long the steps in other threads keep the interpreter is
measured in `test_turns`.
"""

from __future__ import annotations

import base64
import json

import fakeredis
import gevent
import pytest

from relay.answer.endpoint_answer import EndpointAnswer
from relay.domain.invocation import Outcome, Sent, State
from relay.domain.reference_id import new_reference_id
from relay.egress import AddressPolicy
from relay.executor.call_plans import CallPlans
from relay.executor.conclusion import Conclusion
from relay.executor.large_work import LARGE_BYTES
from relay.executor.payloads import Payloads
from relay.executor.preparation import Preparation, Prepared
from relay.outbound.gate import Gate
from relay.outbound.sender import Sender
from relay.process.clock import boot_time_s
from relay.request.trigger import Trigger
from relay.settings import Settings
from relay.store.ledger.transitions import CallRecord
from relay.store.registry.webhooks import Registry
from relay.vault import Vault, payload_owner
from tests.integration.test_turns import JSON_TEXTS, UNITS, made
from tests.outbound import calling
from tests.receivers import json_answer, receiver
from tests.stretches import stretches
from tests.timing import least
from tests.turns import slowness
from tests.unit.test_call_plans import apply, hook

MAX_DELAY_S = 0.05
VAULT = Vault.from_text(Vault.new_key_text())
SECRETS = ["whsec_" + base64.b64encode(bytes([number]) * 64).decode() for number in range(5)]
TREE = {"$defs": {"tree": {"items": {"$ref": "#/$defs/tree"}}}, "$ref": "#/$defs/tree"}
SETTINGS = Settings.from_environ({"RELAY_REDIS_URL": "redis://127.0.0.1:6379/0"})
#: An answer or payload of each of these sizes is read in this thread, or just not.
SIZES = {"short": LARGE_BYTES - 1, "long": SETTINGS.max_response_bytes}


@pytest.fixture(scope="module")
def endpoint():
    with receiver(json_answer({"ok": True})) as served:
        yield served


@pytest.fixture(scope="module")
def steps(endpoint):
    """Return what prepares, sends and concludes the calls of this webhook."""
    registry = Registry(fakeredis.FakeRedis(server=fakeredis.FakeServer()), VAULT, VAULT)
    headers = {"Authorization": "Bearer secret+token/abc=defghijkl"}
    signed = hook(
        "signed",
        url=endpoint.url,
        headers=headers,
        signing=SECRETS,
        dataSchema=TREE,
        responseSchema=TREE,
    )
    apply(registry, signed)
    plans = CallPlans(registry, AddressPolicy(["127.0.0.0/8"]))
    with calling() as caller:
        yield (
            Preparation(plans, Payloads(VAULT, VAULT), None, None),
            Sender(caller.transport),
            Conclusion(VAULT, None, None),
        )


def delay_s(step):
    """Return the longest time for which the loop does nothing else while the step is made, on an idle processor."""

    def measured():
        with stretches() as found:
            gevent.spawn(step).get()
        return found.longest_s / slowness()

    return least(measured, wanted=MAX_DELAY_S)


def record(data, preparation):
    ref = new_reference_id()
    made_for = CallRecord(ref, State.QUEUED, "acme", "signed", 1, 1, b"", None, 20_000, "bulk")
    sealed = VAULT.seal(
        Trigger(data).to_json(),
        payload_owner("acme", ref, made_for.purpose, preparation._plans.stamp("acme", "signed", 1)),
    )
    return made_for._replace(payload=sealed)


def answer(body, content_type):
    return EndpointAnswer(Outcome.ANSWERED, Sent.ANSWERED, 200, content_type, body, 1, len(body), None, 0)


@pytest.fixture(scope="module")
def call(steps):
    return steps[0].prepare(record({"a": 1}, steps[0]), waits=True)


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("text", JSON_TEXTS)
def test_a_json_answer_is_concluded_beside_other_calls(steps, call, text, size):
    came = answer(text(size).encode(), "application/json")
    assert delay_s(lambda: steps[2].conclude(call, "token", came, 0)) <= MAX_DELAY_S


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("content_type", ["text/plain", "application/octet-stream"])
@pytest.mark.parametrize("unit", UNITS, ids=ascii)
def test_any_other_answer_is_concluded_beside_other_calls(steps, call, unit, content_type, size):
    came = answer(made(("a", unit, "a"), size).encode(), content_type)
    assert delay_s(lambda: steps[2].conclude(call, "token", came, 0)) <= MAX_DELAY_S


PAYLOADS = {
    "a long text": lambda size: "x" * size,
    "line breaks": lambda size: "\n" * (size // 2),
    "small objects": lambda size: [{"t": 1}] * min(size // 8, 50_000),
    "deep arrays": lambda size: json.loads("[" + ("[" * 30 + "]" * 30 + ",") * min(size // 61, 3_000) + "0]"),
}


@pytest.mark.parametrize("size", [LARGE_BYTES - 200, SETTINGS.max_body_bytes - 200], ids=["short", "long"])
@pytest.mark.parametrize("make", PAYLOADS.values(), ids=PAYLOADS)
def test_a_payload_is_opened_checked_rendered_signed_and_sent_beside_other_calls(steps, endpoint, make, size):
    preparation, sender, _ = steps
    waiting, calls = record({"d": make(size)}, preparation), []

    def prepare():
        calls.append(preparation.prepare(waiting, waits=True))

    def send():
        gate = Gate(boot_time_s() + 60)
        return sender.send(calls[-1].request, gate=gate, deadline_s=gate.deadline_s, repeatable=False)

    assert delay_s(prepare) <= MAX_DELAY_S
    assert isinstance(calls[-1], Prepared)
    assert delay_s(send) <= MAX_DELAY_S / 4  # five signatures of 8 MiB take twice as long
    assert endpoint.requests[-1].header("webhook-signature")
    endpoint.requests.clear()
