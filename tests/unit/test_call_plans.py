"""Plans of webhook calls and chains, as a worker makes them."""

from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import replace
from types import SimpleNamespace

import fakeredis
import pytest

from relay.chains import Create, pins_of
from relay.cli.secrets import look_up_in
from relay.domain.invocation import State
from relay.domain.reference_id import new_reference_id
from relay.egress import AddressPolicy
from relay.errors import NotFound
from relay.executor.call_plans import CallPlans
from relay.executor.chain_evaluation import ChainEvaluation, ChainEvaluator
from relay.registration.document import read_registrations
from relay.registration.endpoint import EndpointRules
from relay.request.trigger import Trigger
from relay.store.ledger.transitions import CallRecord
from relay.store.registry.webhooks import Registry
from relay.vault import Vault

ALLOWING = AddressPolicy(["127.0.0.1"])
SECRETS = ("first-planted-secret", "other-planted-secret")


def hook(webhook_id, **changes):
    return {"id": webhook_id, "url": f"https://{webhook_id}.example.com/in", "method": "POST", **changes}


@pytest.fixture
def registry():
    registry = Registry(
        fakeredis.FakeRedis(server=fakeredis.FakeServer()), *[Vault.from_text(Vault.new_key_text())] * 2
    )
    apply(
        registry,
        hook("login-service", headers={"X-Key": SECRETS[0]}, queryParams=["a"]),
        hook("other-service", headers={"X-Key": SECRETS[1]}),
        {"id": "inner", "steps": [{"webhook": "other-service"}]},
        {"id": "outer", "steps": [{"webhook": "login-service"}, {"webhook": "inner"}], "result": "steps[0].data"},
    )
    return registry


def apply(registry, *webhooks):
    rules, look_up = EndpointRules(ALLOWING), look_up_in(registry)
    registry.apply("acme", read_registrations(json.dumps(list(webhooks)), rules, plugin="acme", look_up=look_up)[1])


def pinned(registry):
    return pins_of("acme", registry.current("acme", "outer")[1], registry.current)


def test_a_chain_s_plan_has_the_shapes_of_the_pinned_revisions(registry):
    pins = pinned(registry)
    apply(registry, hook("login-service", queryParams=["b"]))
    plan = CallPlans(registry, ALLOWING).chain("acme", "outer", 1, pins)
    assert [step.webhook for step in plan.steps] == ["login-service", "inner"]
    assert [shape.query_params for shape in plan.shapes] == [("a",), ()]
    assert plan.shapes[1].chain
    assert plan.result.text == "steps[0].data"


def test_a_step_without_a_pin_has_no_shape(registry):
    plan = CallPlans(registry, ALLOWING).chain("acme", "outer", 1, {"inner": 1, "login-service": 7})
    assert [shape is None for shape in plan.shapes] == [True, False]


def test_a_chain_s_mask_hides_what_every_webhook_below_it_hides(registry):
    mask = CallPlans(registry, ALLOWING).chain_mask("acme", pinned(registry))
    shown = f"{SECRETS[0]} {SECRETS[1]} https://login-service.example.com/in other-service.example.com"
    assert mask.text(shown)[0] == "[redacted] [redacted] [redacted] [redacted]"


def test_a_chain_has_no_request_and_a_webhook_no_steps(registry):
    plans = CallPlans(registry, ALLOWING)
    with pytest.raises(NotFound):
        plans.of("acme", "outer", 1)
    with pytest.raises(NotFound):
        plans.chain("acme", "login-service", 1, {})
    with pytest.raises(NotFound):
        plans.chain("acme", "outer", 9, {})


def test_a_plain_token_endpoint_whose_exception_is_gone_is_not_asked(registry):
    auth = {"type": "oauth2", "tokenUrl": "http://127.0.0.1/token", "clientId": "c", "clientSecret": "long-enough"}
    apply(registry, hook("with-token", auth=auth))
    assert CallPlans(registry, ALLOWING).of("acme", "with-token", 1).sendable
    plan = CallPlans(registry, AddressPolicy()).of("acme", "with-token", 1)
    assert not plan.sendable
    assert plan.oauth.client_id == "c"


@pytest.mark.parametrize("names", [["KEY"], ["KEY", "OTHER"]])
@pytest.mark.parametrize("settings", range(1, 5))
def test_each_value_that_a_secret_had_lately_is_hidden(registry, names, settings):
    values = {name: [f"planted-{name}-{number}-value" for number in range(settings)] for name in names}
    for number in range(settings):
        for name in names:
            registry.secrets.set("acme", name, values[name][number])
    apply(registry, hook("rotating", headers={f"X-{name}": f"${{secret:{name}}}" for name in names}))
    plan = CallPlans(registry, ALLOWING).of("acme", "rotating", 1)
    every = [value for of_one in values.values() for value in of_one]
    assert plan.mask.text(" ".join(every)) == (" ".join(["[redacted]"] * len(every)), len(every))


@pytest.mark.parametrize(
    ("place", "sent"),
    [
        ({"headers": {"X-Key": "before-${secret:KEY}-after"}}, "before-{}-after"),
        ({"auth": {"type": "basic", "username": "ada", "password": "${secret:KEY}"}}, b"ada:{}"),
    ],
    ids=["header", "login"],
)
def test_what_was_sent_with_a_short_value_that_a_secret_had_lately_is_hidden_whole(registry, place, sent):
    for value in ("old1", "new1"):
        registry.secrets.set("acme", "KEY", value)
    apply(registry, hook("rotating", **place))
    plan = CallPlans(registry, ALLOWING).of("acme", "rotating", 1)
    for value in ("old1", "new1"):
        text = sent.format(value) if isinstance(sent, str) else b64encode(sent.replace(b"{}", value.encode())).decode()
        assert plan.mask.text(text) == ("[redacted]", 1)


@pytest.mark.parametrize("key", ["fixed-key", "${secret:KEY}"])
def test_a_revision_that_is_another_under_its_old_number_is_planned_anew(registry, monkeypatch, key):
    registry.secrets.set("acme", "KEY", "planted-key")
    apply(registry, hook("restored", headers={"X-Key": key}))
    plans, stored = CallPlans(registry, ALLOWING), registry.revision("acme", "restored", 1)
    assert plans.of("acme", "restored", 1).stamp == stored.stamp
    monkeypatch.setattr(registry, "revision", lambda *_: replace(stored, stamp="another"))
    monkeypatch.setattr(registry, "is_changed", lambda *_: True)
    assert plans.is_changed("acme", "restored", 1)
    assert plans.of("acme", "restored", 1).stamp == "another"


OPTIONS = {"timeout": 7, "maxAge": 600, "callback": "other-service", "idempotent": True}


@pytest.mark.parametrize("given", [(), *((name,) for name in OPTIONS), tuple(OPTIONS)], ids=repr)
def test_a_step_s_calls_have_what_their_webhook_s_registration_says(registry, given):
    apply(registry, hook("login-service", **{name: OPTIONS[name] for name in given}))
    pins = pinned(registry)
    shape = registry.revision("acme", "login-service", pins["login-service"]).shape
    vault, plans = Vault.from_text(Vault.new_key_text()), CallPlans(registry, ALLOWING)
    ref, pinned_text = new_reference_id("acme"), json.dumps(pins)
    record = CallRecord(ref, State.QUEUED, "acme", "outer", 1, 1, b"", None, 1_000, "bulk", pins=pinned_text)
    chain_state = SimpleNamespace(plan=plans.chain("acme", "outer", 1, pins))
    evaluator = ChainEvaluator(plans, None, None, vault, vault)
    for step, (webhook, nested) in enumerate((("login-service", None), ("inner", pinned_text))):
        create = Create(step, (Trigger(1), Trigger(2)))
        news = evaluator.new_steps(ChainEvaluation(record, chain_state, create, ()), create)
        assert {(new.webhook_id, new.revision, new.pins) for new in news} == {(webhook, pins[webhook], nested)}
        assert len({new.reference_id for new in news}) == 2
        if step == 0:
            said = (shape.timeout_ms, shape.repeatable, shape.max_age_ms, shape.callback or "")
            assert {(new.timeout_ms, new.repeatable, new.max_age_ms, new.callback) for new in news} == {said}
            assert bool(news[0].callback) == ("callback" in given)
