"""Plans of webhook calls and chains, as a worker makes them."""

from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import fakeredis
import pytest

from relay.chains import Create, pins_of
from relay.cli.secrets import look_up_in
from relay.domain.invocation import Outcome, State
from relay.domain.reference_id import new_reference_id
from relay.egress import AddressPolicy
from relay.errors import DocumentError, NotFound, RequestRejected, StoreFault, Unavailable, VaultError
from relay.executor.access_tokens import AccessToken
from relay.executor.call_plans import CallPlans
from relay.executor.chain_evaluation import ChainEvaluator, Decided, _Evaluation
from relay.executor.payloads import Payloads
from relay.executor.preparation import Preparation, Prepared, Unsendable
from relay.registration.document import read_registrations
from relay.registration.endpoint import EndpointRules
from relay.request.oauth import NoToken
from relay.request.trigger import Trigger
from relay.store.ledger.transitions import CallRecord
from relay.store.registry.access_tokens import RevisionId
from relay.store.registry.webhooks import Registry
from relay.telemetry import log
from relay.vault import Vault, payload_owner

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


def test_a_plan_and_its_masks_are_made_once(registry):
    registry.secrets.set("acme", "KEY", "planted-key")
    apply(registry, hook("keyed", headers={"X-Key": "${secret:KEY}"}), hook("with-token", auth=OAUTH))
    plans, pins = CallPlans(registry, ALLOWING), pinned(registry)
    for webhook_id in ("login-service", "keyed"):
        assert plans.of("acme", webhook_id, 1) is plans.of("acme", webhook_id, 1)
    assert plans.chain_mask("acme", pins) is plans.chain_mask("acme", pins)
    site = Site(registry, Tokens(existing=TOKEN))
    one, other = (site.prepare(site.record("with-token")) for _ in range(2))
    assert one.mask is other.mask


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
        news = evaluator._new_steps(_Evaluation(record, chain_state, create, ()), create)
        assert {(new.webhook_id, new.revision, new.pins) for new in news} == {(webhook, pins[webhook], nested)}
        assert len({new.reference_id for new in news}) == 2
        assert {new.request_bytes for new in news} == {len(Trigger(1).to_json())}
        if step == 0:
            said = (shape.timeout_ms, shape.repeatable, shape.max_age_ms, shape.callback or "")
            assert {(new.timeout_ms, new.repeatable, new.max_age_ms, new.callback) for new in news} == {said}
            assert bool(news[0].callback) == ("callback" in given)


# -- preparation --------------------------------------------------------------------------------------------------------


def raise_(error, *_):
    raise error


class Tokens:
    """Access tokens, of which each webhook has one unless it has to be fetched, or an error."""

    def __init__(self, existing=None, fetched=None, error=None):
        self.found = {"existing": existing, "access": fetched}
        self.error = error
        self.asked = []

    def existing(self, revision_id, client):
        return self._asked("existing", revision_id, client)

    def access(self, revision_id, client):
        return self._asked("access", revision_id, client)

    def _asked(self, how, revision_id, client):
        self.asked.append((how, revision_id, client.client_id))
        if self.error:
            raise self.error
        return self.found[how] and AccessToken(revision_id, client, self.found[how], b"", 0.0, 0.0)


class Site:
    """Calls of a registered webhook, and what prepares them."""

    def __init__(self, registry, tokens=None):
        self.registry, self.vault = registry, Vault.from_text(Vault.new_key_text())
        self.plans = CallPlans(registry, ALLOWING)
        evaluator = SimpleNamespace(decide=lambda record: Decided(record, "next"))
        self.preparation = Preparation(self.plans, Payloads(self.vault, self.vault), evaluator, tokens)

    def record(self, webhook_id="login-service", trigger=None, stamp=None, **changes):
        ref = new_reference_id("acme")
        record = CallRecord(ref, State.QUEUED, "acme", webhook_id, 1, 1, b"", None, 1_000, "bulk")._replace(**changes)
        owner = payload_owner("acme", ref, record.purpose, stamp or self.plans.stamp("acme", webhook_id, 1))
        return record._replace(payload=self.vault.seal((trigger or Trigger({"n": 1})).to_json(), owner))

    def prepare(self, record, *, waits=False):
        return self.preparation.prepare(record, waits=waits)


@pytest.mark.parametrize("is_changed", [False, True])
def test_a_call_that_does_not_open_is_tried_once_more_if_its_revision_is_another_by_now(
    registry, monkeypatch, is_changed
):
    site = Site(registry)
    record = site.record(stamp="of the other")
    asked, stored = [], registry.revision("acme", "login-service", 1)

    def changed(*revision):
        asked.append(revision)
        if is_changed:
            monkeypatch.setattr(registry, "revision", lambda *_: replace(stored, stamp="of the other"))
        return is_changed

    monkeypatch.setattr(registry, "is_changed", changed)
    call = site.prepare(record)
    assert isinstance(call, Prepared) == is_changed
    assert is_changed or call == Unsendable(record, Outcome.PREPARE_FAILED)
    assert asked == [("acme", "login-service", 1)]


def test_what_is_no_longer_registered_is_not_sent_except_steps_and_chains_that_have_begun(registry):
    site = Site(registry)
    plain, step = site.record(current_revision=None), site.record(current_revision=None, parent="p", step=0)
    assert site.prepare(plain) == Unsendable(plain, Outcome.WEBHOOK_NOT_REGISTERED)
    assert site.prepare(step) != Unsendable(step, Outcome.WEBHOOK_NOT_REGISTERED)
    chain = site.record("outer", current_revision=None, pins="{}")
    assert end_of(site.preparation.decide(chain)) == (State.REJECTED, Outcome.WEBHOOK_NOT_REGISTERED, None, None)
    for goes_on in (chain._replace(made=1), chain._replace(parent="p", step=0), chain._replace(current_revision=2)):
        assert site.preparation.decide(goes_on) == Decided(goes_on, "next")


def end_of(decided):
    end = decided.decision.settlement
    assert (end.attempt, end.result, end.raw, decided.decision.made) == (None, b"", b"", decided.record.made)
    return end.state, end.outcome, end.status, end.error


@pytest.mark.parametrize(
    ("error", "outcome", "end"),
    [
        (RequestRejected("no"), Outcome.REQUEST_REJECTED, (State.REJECTED, None, None)),
        (NotFound(), Outcome.PREPARE_FAILED, (State.UNREACHABLE, 0, True)),
        (VaultError("no"), Outcome.PREPARE_FAILED, (State.UNREACHABLE, 0, True)),
        (ZeroDivisionError(), Outcome.PREPARE_FAILED, (State.UNREACHABLE, 0, True)),
        (Unavailable(), None, None),
        (StoreFault(), None, None),
    ],
)
def test_a_chain_that_cannot_be_decided_on_ends_unless_the_store_is_at_fault(registry, error, outcome, end):
    site = Site(registry)
    site.preparation._evaluator.decide = partial(raise_, error)
    chain = site.record("outer", pins="{}", made=3)
    if end is None:
        with pytest.raises(type(error)):
            site.preparation.decide(chain)
        return
    decided = site.preparation.decide(chain)
    state, *shown = end
    assert end_of(decided) == (state, outcome, *shown)
    assert decided.decision.settlement.claim_token != site.preparation.decide(chain).decision.settlement.claim_token


def test_each_fault_of_a_call_is_its_own_outcome_and_one_of_the_store_is_raised(registry, monkeypatch, events_of):
    site, said = Site(registry), events_of(log)
    misfit = site.record(trigger=Trigger({}, {"X-Other": "x"}))
    assert site.prepare(misfit) == Unsendable(misfit, Outcome.REQUEST_REJECTED)
    for error in (NotFound(), DocumentError(), ZeroDivisionError(), Unavailable(), StoreFault()):
        monkeypatch.setattr(site.plans, "of", partial(raise_, error))
        if isinstance(error, Unavailable | StoreFault):
            with pytest.raises(type(error)):
                site.prepare(misfit)
        else:
            assert site.prepare(misfit) == Unsendable(misfit, Outcome.PREPARE_FAILED)
    assert [(fields["where"], fields["kind"]) for _, fields in said] == [("prepare", "ZeroDivisionError")]


def test_a_call_over_plain_http_that_nothing_allows_is_not_sent(registry):
    apply(registry, hook("plain", url="http://127.0.0.1/in"))
    site = Site(registry)
    record = site.record("plain")
    assert isinstance(site.prepare(record), Prepared)
    site.plans._policy = AddressPolicy()
    site.plans._cached.cache_clear()
    assert site.prepare(record) == Unsendable(record, Outcome.ADDRESS_REFUSED)


TOKEN = "planted-access-token"
OAUTH = {"type": "oauth2", "tokenUrl": "https://login.example.com/t", "clientId": "c1", "clientSecret": "long-enough"}


@pytest.mark.parametrize("waits", [False, True])
def test_a_call_that_needs_a_token_has_it_hides_it_and_is_left_where_it_would_have_to_wait_for_it(registry, waits):
    apply(registry, hook("with-token", auth=OAUTH))
    for found in ({"existing": TOKEN, "fetched": TOKEN}, {"fetched": TOKEN}):
        tokens = Tokens(**found)
        site = Site(registry, tokens)
        record = site.record("with-token")
        call = site.prepare(record, waits=waits)
        revision_id = RevisionId("acme", "with-token", 1, site.plans.stamp("acme", "with-token", 1))
        assert tokens.asked == [("access" if waits else "existing", revision_id, "c1")]
        if not waits and "existing" not in found:
            assert call is None
            continue
        assert (call.request.headers["Authorization"], call.access.token) == (f"Bearer {TOKEN}", TOKEN)
        assert call.mask.text(f"{TOKEN} of https://with-token.example.com/in")[0] == "[redacted] of [redacted]"


def test_a_call_whose_token_is_not_had_may_be_tried_again_as_its_webhook_s_retries_say(registry):
    apply(registry, hook("with-token", auth=OAUTH, retry={"attempts": 3}))
    site = Site(registry, Tokens(error=NoToken(Outcome.CONNECT_FAILED)))
    record = site.record("with-token")
    call = site.prepare(record)
    assert call == Unsendable(record, Outcome.CONNECT_FAILED, registry.revision("acme", "with-token", 1).shape)
    assert call.shape.retry.attempts == 3
