"""Chains and the webhooks that they use stay consistent, whatever is registered or removed, and when."""

from __future__ import annotations

import json

import pytest

from relay.egress import AddressPolicy
from relay.errors import Conflict, DocumentError
from relay.registration.document import read_registrations
from relay.registration.endpoint import EndpointRules
from relay.store.registry.webhooks import Registry
from relay.vault import Vault
from tests.store_keys import KEYS

RULES = EndpointRules(AddressPolicy())


@pytest.fixture
def registry(redis_client):
    return Registry(redis_client, *[Vault.from_text(Vault.new_key_text())] * 2)


def hook(webhook_id, **changes):
    return {"id": webhook_id, "url": "https://planted.example.com/in", "method": "POST", **changes}


def chain(webhook_id, *used, **step):
    return {"id": webhook_id, "steps": [{"webhook": each, **step} for each in used]}


def apply(registry, *webhooks, **how):
    return registry.apply("acme", read_registrations(json.dumps(list(webhooks)), RULES, plugin="acme")[1], **how)


def faults(registry, *webhooks):
    with pytest.raises(DocumentError) as caught:
        apply(registry, *webhooks)
    return [str(fault) for fault in caught.value.faults]


def users(redis_client, webhook_id):
    return sorted(user.decode() for user in redis_client.smembers(KEYS.users("acme", webhook_id)))


def test_a_chain_may_come_with_the_webhooks_that_it_uses_in_any_order(registry, redis_client):
    applied = apply(registry, chain("book", "login", "tell"), hook("login"), hook("tell"))
    assert [each.change for each in applied] == ["created"] * 3
    assert users(redis_client, "login") == users(redis_client, "tell") == ["book"]
    assert registry.current("acme", "book")[1].uses == ("login", "tell")


def test_a_chain_may_use_what_is_registered_already(registry):
    apply(registry, hook("login"))
    assert apply(registry, chain("book", "login"))[0].revision == 1


def test_a_chain_of_what_is_not_registered_is_refused_with_its_place_and_nothing_is_stored(registry, redis_client):
    assert faults(registry, hook("login"), chain("book", "login", "gone")) == [
        "/1/steps/1/webhook (line 1, column 126): is not registered for this plugin, and not in this document"
    ]
    assert redis_client.keys("*") == []


def test_another_plugin_s_webhook_is_not_there(registry):
    other = read_registrations(json.dumps(hook("login")), RULES, plugin="other")[1]
    registry.apply("other", other)
    assert "is not registered for this plugin" in faults(registry, chain("book", "login"))[0]


def test_a_webhook_that_a_chain_uses_is_not_removed_and_the_chain_is_named(registry):
    apply(registry, hook("login"), chain("book", "login"), chain("again", "login"))
    with pytest.raises(Conflict, match="`again`, `book`"):
        registry.remove("acme", "login")
    assert registry.current("acme", "login", refresh=True)


def test_a_webhook_is_free_again_when_its_chains_are_removed_or_use_others(registry):
    apply(registry, hook("login"), hook("other"), chain("book", "login"), chain("again", "login"))
    assert registry.remove("acme", "book")
    apply(registry, chain("again", "other"))
    assert registry.remove("acme", "login")
    with pytest.raises(Conflict, match="`again`"):
        registry.remove("acme", "other")


def test_a_removed_chain_that_comes_back_uses_its_webhooks_again(registry, redis_client):
    apply(registry, hook("login"), chain("book", "login"))
    registry.remove("acme", "book")
    assert users(redis_client, "login") == []
    apply(registry, chain("book", "login"))
    assert users(redis_client, "login") == ["book"]


def test_a_chain_that_becomes_a_webhook_uses_nothing(registry, redis_client):
    apply(registry, hook("login"), chain("book", "login"))
    apply(registry, hook("book"))
    assert users(redis_client, "login") == []


def test_a_change_that_would_break_a_chain_is_refused_and_the_chain_is_named(registry):
    apply(registry, hook("login", headers={"X-Note": None}), chain("book", "login", headers={"X-Note": "input.data"}))
    (fault,) = faults(registry, hook("login"))
    assert fault.startswith("/0 (line 1, column 2): would break the chain `book`: its /steps/0/headers/X-Note is not a")
    assert registry.current("acme", "login", refresh=True)[0] == 1


def test_a_change_that_would_break_a_chain_is_taken_together_with_the_chain_s(registry):
    apply(registry, hook("login", queryParams=["a"]), chain("book", "login", queryParams={"a": "input.data"}))
    applied = apply(registry, hook("login", queryParams=["b"]), chain("book", "login", queryParams={"b": "input.data"}))
    assert [each.revision for each in applied] == [2, 2]


def test_a_webhook_whose_callback_does_not_fit_is_refused_and_so_is_what_would_break_it(registry):
    assert faults(registry, hook("tells", callback="gone"), hook("told")) == [
        "/0/callback (line 1, column 77): names `gone`, which is not registered for this plugin"
    ]
    apply(registry, hook("tells", callback="told"), hook("told"), chain("book", "tells"))
    (fault,) = faults(registry, hook("told", method="GET"))
    assert fault == (
        "/0 (line 1, column 2): would break `tells`: its /callback names `told`, whose GET request carries no data"
    )
    assert apply(registry, hook("told", method="PUT"))[0].revision == 2


def test_a_user_that_is_damaged_hinders_no_change_of_what_it_uses(registry, redis_client):
    apply(registry, hook("login", headers={"X-Note": None}), chain("book", "login", headers={"X-Note": "input.data"}))
    apply(registry, hook("told"), hook("tells", callback="told"))
    for user in ("book", "tells"):
        redis_client.delete(KEYS.revision("acme", user, 1))
    other = Registry(redis_client, *[registry._target_vault] * 2)
    assert [each.change for each in apply(other, hook("login"), hook("told", method="GET"))] == ["changed"] * 2


def test_a_change_that_makes_chains_above_it_too_deep_is_refused(registry):
    apply(registry, hook("plain"), chain("c1", "plain"), *(chain(f"c{n}", f"c{n - 1}") for n in range(2, 9)))
    apply(registry, chain("d1", "plain"))
    assert faults(registry, chain("c1", "d1")) == [
        "/0 (line 1, column 2): would break the chain `c8`: its /steps has chains in chains deeper than 8"
    ]


def test_a_cycle_over_several_documents_is_refused(registry):
    apply(registry, hook("plain"), chain("a", "plain"), chain("b", "a"))
    assert "/0/steps (line 1, column 14): leads back to this chain" in faults(registry, chain("a", "b"))


def test_a_dry_run_checks_chains_too(registry, redis_client):
    with pytest.raises(DocumentError):
        apply(registry, chain("book", "gone"), dry_run=True)
    apply(registry, hook("login"), chain("book", "login"), dry_run=True)
    assert redis_client.keys("*") == []


@pytest.mark.parametrize("raced", ["removed", "changed", "used"])
def test_what_changes_between_check_and_commit_is_checked_again(registry, raced, monkeypatch):
    """Another process removes a step's webhook, changes it, or begins to use one that is being changed."""
    apply(registry, hook("login", queryParams=["a"]), hook("plain"))
    check, races = registry._uses.check, []

    def check_then_race(plugin, registrations):
        seen = check(plugin, registrations)
        if not races:
            races.append(raced)
            {
                "removed": lambda: registry.remove("acme", "login"),
                "changed": lambda: apply(registry, hook("login")),
                "used": lambda: apply(registry, chain("theirs", "login", queryParams={"a": "input.data"})),
            }[raced]()
        return seen

    monkeypatch.setattr(registry._uses, "check", check_then_race)
    if raced == "used":
        assert "would break the chain `theirs`" in faults(registry, hook("login"))[0]
    else:
        faults(registry, chain("ours", "login", queryParams={"a": "input.data"}))
    assert races


def test_two_chains_that_would_lead_to_each_other_cannot_both_come_in_at_once(registry, monkeypatch):
    apply(registry, hook("plain"), chain("a", "plain"), chain("b", "plain"), chain("m", "b"))
    check, races = registry._uses.check, []

    def check_then_race(plugin, registrations):
        seen = check(plugin, registrations)
        if not races:
            races.append(1)
            apply(registry, chain("b", "a"))
        return seen

    monkeypatch.setattr(registry._uses, "check", check_then_race)
    assert any("leads back" in fault for fault in faults(registry, chain("a", "m")))
