"""A plugin's secrets: sealed by themselves, set and removed by scripts, read at most a second late by plans of calls."""

from __future__ import annotations

import json
import logging
import threading
import time
from contextvars import copy_context

import pytest

from relay.audit.actor import act_as_operator
from relay.cli.secrets import look_up_in
from relay.domain.reference_id import new_reference_id
from relay.egress import AddressPolicy
from relay.errors import BadParameter, Conflict, DocumentError, NotFound, OverCapacity, SettingsError, VaultError
from relay.executor.call_plans import CallPlans
from relay.registration.document import read_registrations
from relay.registration.endpoint import EndpointRules
from relay.request.trigger import Trigger
from relay.store.registry import secrets as secrets_module
from relay.store.registry.webhooks import Registry
from relay.vault import Vault
from tests.store_keys import KEYS

POLICY = AddressPolicy()
FIRST, SECOND = "planted-first-value", "planted-second-value"


@pytest.fixture
def vault():
    return Vault.from_text(Vault.new_key_text())


@pytest.fixture
def process(redis_client, vault):
    """A function that makes the registry of one more process."""
    return lambda: Registry(redis_client, vault, vault)


@pytest.fixture
def registry(process):
    return process()


def hook(webhook_id="hook", **changes):
    return {
        "id": webhook_id,
        "url": f"https://{webhook_id}.vendor.com/x",
        "method": "POST",
        "headers": {"X-Key": "${secret:KEY}"},
        **changes,
    }


def apply(registry, *webhooks, plugin="acme"):
    rules, look_up = EndpointRules(POLICY), look_up_in(registry)
    found = read_registrations(json.dumps(list(webhooks)), rules, plugin=plugin, look_up=look_up)[1]
    return registry.apply(plugin, found)


def test_a_value_is_sealed_for_its_plugin_and_name_alone(registry, redis_client, vault):
    assert registry.secrets.set("acme", "KEY", FIRST) == "created"
    assert registry.secrets.set("acme", "KEY", SECOND) == "changed"
    registry.secrets.set("acme", "OTHER", FIRST)
    everything = b"".join(redis_client.dump(key) for key in redis_client.keys("*"))
    assert b"planted" not in everything
    redis_client.set(KEYS.secret("acme", "OTHER"), redis_client.get(KEYS.secret("acme", "KEY")))
    redis_client.set(KEYS.secret("other", "KEY"), redis_client.get(KEYS.secret("acme", "KEY")))
    for plugin, name in (("acme", "OTHER"), ("other", "KEY")):
        with pytest.raises(VaultError):
            Registry(redis_client, vault, vault).secrets.values(plugin, [name])


def test_a_process_without_target_keys_sets_and_reads_no_secret(redis_client, registry, vault):
    registry.secrets.set("acme", "KEY", FIRST)
    door = Registry(redis_client, vault)
    for act in (lambda: door.secrets.values("acme", ["KEY"]), lambda: door.secrets.set("acme", "KEY", SECOND)):
        with pytest.raises(SettingsError):
            act()


def test_a_value_shows_in_no_repr(registry):
    registry.secrets.set("acme", "KEY", FIRST)
    assert FIRST not in repr(registry.secrets.values("acme", ["KEY"]))


@pytest.mark.parametrize("since", ["set", "removed", "removed and set"])
@pytest.mark.parametrize("reader", ["that was running", "that has just begun"])
def test_an_earlier_value_that_is_put_back_counts_as_not_set(
    process, registry, redis_client, monkeypatch, events_of, since, reader
):
    told = events_of(secrets_module)
    monkeypatch.setattr(secrets_module, "AGE_S", 0.0)
    running, key = process().secrets, KEYS.secret("acme", "KEY")
    registry.secrets.set("acme", "KEY", FIRST)
    assert running.values("acme", ["KEY"])[0].value == FIRST
    earlier = redis_client.get(key)
    if "removed" in since:
        registry.secrets.remove("acme", "KEY")
    if "set" in since:
        registry.secrets.set("acme", "KEY", SECOND)
    redis_client.set(key, earlier)
    running._known.clear()
    secrets = running if reader == "that was running" else process().secrets
    with pytest.raises(NotFound):
        secrets.values("acme", ["KEY"])
    assert told == [("secret_unverified", {"level": logging.ERROR, "plugin": "acme", "secret": "KEY"})]
    assert registry.secrets.set("acme", "KEY", "planted-third-value") == "changed"
    assert secrets.values("acme", ["KEY"])[0].value == "planted-third-value"


def test_a_secret_that_is_set_while_others_decide_is_set_once(process, registry, redis_client):
    def act(number):
        process().secrets.set("acme", f"KEY{number % 4}", f"planted-{number}")

    threads = [threading.Thread(target=act, args=(number,)) for number in range(12)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    names = [f"KEY{number}" for number in range(4)]
    assert registry.secrets.names("acme") == names
    assert all(each.value.startswith("planted-") for each in process().secrets.values("acme", names))
    assert sum(len(each) for each in registry.secrets.settings("acme", names).values()) == 12


def test_values_are_read_once_a_second_and_together(process, monkeypatch, registry):
    for name in ("A", "B"):
        registry.secrets.set("acme", name, f"{FIRST}-{name}")
    reader = process().secrets
    reads = []
    read = reader._read
    monkeypatch.setattr(reader, "_read", lambda plugin, names: reads.append(list(names)) or read(plugin, names))
    for _ in range(5):
        assert [each.value for each in reader.values("acme", ["B", "A"])] == [f"{FIRST}-B", f"{FIRST}-A"]
    assert reads == [["B", "A"]]
    monkeypatch.setattr(secrets_module, "SECRET_AGE_S", 0.0)
    other = process().secrets
    assert other.values("acme", ["A"])[0].value == f"{FIRST}-A"
    registry.secrets.set("acme", "A", SECOND)
    assert other.values("acme", ["A"])[0].value == SECOND


def test_what_is_remembered_is_bounded(registry, monkeypatch):
    monkeypatch.setattr(secrets_module, "MAX_KNOWN", 2)
    for name in ("A", "B", "C"):
        registry.secrets.set("acme", name, name)
        assert registry.secrets.values("acme", [name])[0].value == name
    assert len(registry.secrets._known) <= 2
    assert [each.value for each in registry.secrets.values("acme", ["A", "B", "C"])] == ["A", "B", "C"]


def test_a_plugin_has_so_many_secrets_and_no_more(registry, monkeypatch):
    monkeypatch.setattr(secrets_module, "MAX_SECRETS", 2)
    registry.secrets.set("acme", "A", FIRST)
    registry.secrets.set("acme", "B", FIRST)
    registry.secrets.set("other", "C", FIRST)
    with pytest.raises(OverCapacity):
        registry.secrets.set("acme", "C", FIRST)
    assert registry.secrets.set("acme", "B", SECOND) == "changed"
    assert registry.secrets.names("acme") == ["A", "B"]


def test_of_many_that_set_a_secret_at_once_none_is_lost_in_the_list_of_settings(process):
    def set_it(number):
        process().secrets.set("acme", "KEY", f"{FIRST}-{number}")

    threads = [threading.Thread(target=set_it, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    secrets = process().secrets
    assert len(secrets.settings("acme", ["KEY"])["KEY"]) == 4
    found = secrets.values("acme", ["KEY"])[0]
    assert {found.value, *found.former} == {f"{FIRST}-{number}" for number in range(4)}


def test_who_set_each_secret_is_known_in_the_order_of_time(registry):
    def set_by(name, who, value):
        act_as_operator(who)
        registry.secrets.set("acme", name, f"planted-{value}")
        time.sleep(0.002)

    for turn in (("KEY", "Zoë B", 1), ("OTHER", "ann", 2), ("KEY", "bob@x", 3), ("KEY", "Zoë B", 4)):
        copy_context().run(set_by, *turn)
    found = registry.secrets.settings("acme", ["OTHER", "KEY", "NONE"])
    assert {name: [each.by for each in settings] for name, settings in found.items()} == {
        "OTHER": ["ann"],
        "KEY": ["Zoë B", "bob@x", "Zoë B"],
        "NONE": [],
    }
    times = [each.at_ms for each in found["KEY"]]
    assert times == sorted(times)
    assert abs(times[0] - time.time() * 1_000) < 60_000
    assert registry.secrets.names("acme") == ["KEY", "OTHER"]


def test_only_the_last_hundred_settings_are_kept(registry):
    for number in range(103):
        registry.secrets.set("acme", "KEY", f"{FIRST}-{number}")
    assert len(registry.secrets.settings("acme", ["KEY"])["KEY"]) == 100
    found = registry.secrets.values("acme", ["KEY"])[0]
    assert found.former == tuple(f"{FIRST}-{number}" for number in range(101, 93, -1))


def test_a_value_that_was_replaced_long_ago_is_forgotten(process, registry, monkeypatch):
    registry.secrets.set("acme", "KEY", FIRST)
    registry.secrets.set("acme", "KEY", SECOND)
    later_s = time.time() + secrets_module.FORMER_S + 1
    monkeypatch.setattr(secrets_module.time, "time", lambda: later_s)
    assert process().secrets.values("acme", ["KEY"])[0].former == ()
    registry.secrets.set("acme", "KEY", "third-value")
    assert registry.secrets.values("acme", ["KEY"])[0].former == (SECOND,)


@pytest.mark.parametrize(
    ("values", "former"),
    [("aa", ""), ("ab", "a"), ("aba", "b"), ("abac", "ab"), ("abcdefghijk", "jihgfedc")],
)
def test_the_values_that_a_secret_had_last_are_known_but_not_the_present_one(process, registry, values, former):
    for value in values:
        registry.secrets.set("acme", "KEY", f"planted-{value}")
    assert process().secrets.values("acme", ["KEY"]) == (
        (f"planted-{values[-1]}", tuple(f"planted-{value}" for value in former)),
    )


def test_a_secret_that_is_set_anew_after_its_key_was_lost_hides_nothing_else(registry, redis_client):
    registry.secrets.set("acme", "KEY", FIRST)
    lost = Registry(redis_client, registry._decisions.of("acme")._vault, Vault.from_text(Vault.new_key_text()))
    assert lost.secrets.set("acme", "KEY", SECOND) == "changed"
    assert lost.secrets.values("acme", ["KEY"]) == ((SECOND, ()),)


def test_a_webhook_is_not_registered_once_its_secret_was_removed_meanwhile(process, registry, monkeypatch):
    registry.secrets.set("acme", "KEY", FIRST)
    slow, other = process(), process()
    plan = slow._plan

    def removing(*arguments):
        other.secrets.remove("acme", "KEY")
        return plan(*arguments)

    monkeypatch.setattr(slow, "_plan", removing)
    monkeypatch.setattr(secrets_module, "SECRET_AGE_S", 0.0)
    slow.secrets._known.clear()
    with pytest.raises(DocumentError) as caught:
        apply(slow, hook())
    assert "KEY" in str(caught.value.faults)
    assert other.current("acme", "hook") is None
    assert other.secrets.users("acme", "KEY") == []


def test_a_value_that_does_not_fit_is_refused_also_where_a_webhook_is_registered_meanwhile(
    process, registry, monkeypatch
):
    registry.secrets.set("acme", "KEY", FIRST)
    one, two = process(), process()
    seal, did = one.secrets._sealed, []

    def registering(*arguments):
        if not did:
            did.append(apply(two, hook()))
        return seal(*arguments)

    monkeypatch.setattr(one.secrets, "_sealed", registering)
    with pytest.raises(BadParameter) as caught:
        one.secrets.set("acme", "KEY", "two\nlines")
    assert [fault.pointer for fault in caught.value.faults] == ["/hook/headers/X-Key"]
    assert sent_key(CallPlans(process(), POLICY)) == FIRST


@pytest.mark.parametrize("when", ["before its check", "after its check"])
def test_a_webhook_is_not_registered_where_a_value_that_was_just_set_does_not_fit(process, registry, monkeypatch, when):
    registry.secrets.set("acme", "KEY", FIRST)
    one, two = process(), process()
    assert one.secrets.values("acme", ["KEY"])[0].value == FIRST  # which it remembers for a second
    name = "check" if when == "before its check" else "_plan"
    holder, did = one._uses if name == "check" else one, []
    act = getattr(holder, name)

    def setting(*arguments):
        if not did:
            did.append(two.secrets.set("acme", "KEY", "two\nlines"))
        return act(*arguments)

    monkeypatch.setattr(holder, name, setting)
    with pytest.raises(DocumentError) as caught:
        apply(one, hook())
    assert [fault.pointer for fault in caught.value.faults] == ["/0/headers/X-Key"]
    assert process().current("acme", "hook") is None


def test_a_user_that_is_damaged_does_not_hinder_the_value_with_which_it_is_repaired(registry, redis_client, process):
    registry.secrets.set("acme", "KEY", FIRST)
    apply(registry, hook("damaged"), hook("well"))
    redis_client.delete(KEYS.revision("acme", "damaged", 1))
    other = process()
    with pytest.raises(BadParameter) as caught:
        other.secrets.set("acme", "KEY", "two\nlines")
    assert {fault.pointer.split("/")[1] for fault in caught.value.faults} == {"well"}
    assert other.secrets.set("acme", "KEY", SECOND) == "changed"


def test_users_follow_what_is_current(registry):
    registry.secrets.set("acme", "KEY", FIRST)
    registry.secrets.set("acme", "OTHER", FIRST)
    apply(registry, hook("a"), hook("b"))
    assert registry.secrets.users("acme", "KEY") == ["a", "b"]
    apply(registry, hook("a", headers={"X-Key": "${secret:OTHER}"}))
    registry.remove("acme", "b")
    assert registry.secrets.users("acme", "KEY") == []
    assert registry.secrets.users("acme", "OTHER") == ["a"]
    assert registry.secrets.remove("acme", "KEY")
    with pytest.raises(Conflict, match="`a`"):
        registry.secrets.remove("acme", "OTHER")
    assert not registry.secrets.remove("acme", "KEY")


def sent_key(plans, revision=1):
    plan = plans.of("acme", "hook", revision)
    return plan.template.fill(Trigger(), new_reference_id("acme")).headers["X-Key"]


def test_a_plan_has_the_present_value_and_hides_the_one_before_as_well(process, registry, monkeypatch):
    registry.secrets.set("acme", "KEY", FIRST)
    apply(registry, hook(headers={"X-Key": "${secret:KEY}", "X-Own": "planted-own"}))
    monkeypatch.setattr(secrets_module, "SECRET_AGE_S", 0.0)
    plans = CallPlans(process(), POLICY)
    assert sent_key(plans) == FIRST
    assert plans.of("acme", "hook", 1) is plans.of("acme", "hook", 1)
    registry.secrets.set("acme", "KEY", SECOND)
    assert sent_key(plans) == SECOND
    masked, _ = plans.of("acme", "hook", 1).mask.text(f"{FIRST} {SECOND} planted-own")
    assert masked == "[redacted] [redacted] [redacted]"


def test_a_value_before_that_does_not_fit_is_hidden_and_hinders_nothing(process, registry):
    registry.secrets.set("acme", "KEY", "planted-no-signing-secret")
    registry.secrets.set("acme", "KEY", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLIjf")
    apply(registry, hook(headers={}, signing="${secret:KEY}"))
    plan = CallPlans(process(), POLICY).of("acme", "hook", 1)
    assert plan.mask.text("it was planted-no-signing-secret")[0] == "it was [redacted]"


@pytest.mark.parametrize(
    "place",
    [
        {"fixedData": {"dsn": "user=ada;password=${secret:KEY}"}},
        {"headers": {"X-Key": "v1.${secret:KEY}"}},
        {"headers": {"X-Key": "token=${secret:KEY}"}},
        {"url": "https://hook.vendor.com/x?q=t:${secret:KEY}"},
        {"url": "https://hook.vendor.com/x?${secret:KEY}=1"},
        {
            "auth": {
                "type": "oauth2",
                "tokenUrl": "https://vendor.com/t",
                "clientId": "c",
                "clientSecret": "s",
                "tokenParams": {"password": "${secret:KEY}"},
            }
        },
    ],
    ids=str,
)
def test_a_secret_is_hidden_by_itself_wherever_it_stands(process, registry, place):
    registry.secrets.set("acme", "KEY", FIRST)
    apply(registry, hook(**{"headers": {}, **place}))
    plan = CallPlans(process(), POLICY).of("acme", "hook", 1)
    assert plan.mask.text(f"it is {FIRST}!")[0] == "it is [redacted]!"


def test_a_chain_hides_the_value_that_another_process_may_have_sent_just_now(process, registry, monkeypatch):
    registry.secrets.set("acme", "KEY", FIRST)
    registry.secrets.set("acme", "OTHER", FIRST)
    apply(registry, hook(), hook("other", headers={"X-Key": "${secret:OTHER}"}))
    reader = process()
    plans = CallPlans(reader, POLICY)
    assert sent_key(plans) == FIRST
    registry.secrets.set("acme", "KEY", SECOND)
    reads, read = [], reader.secrets._read
    monkeypatch.setattr(reader.secrets, "_read", lambda plugin, names: reads.append(list(names)) or read(plugin, names))
    mask = plans.chain_mask("acme", {"hook": 1, "other": 1})
    assert mask.text(f"{FIRST} {SECOND}")[0] == "[redacted] [redacted]"
    assert {*map(tuple, reads)} == {("KEY", "OTHER")}  # of all webhooks together


def test_a_chain_hides_the_present_secrets_of_its_steps(process, registry, monkeypatch):
    registry.secrets.set("acme", "KEY", FIRST)
    apply(registry, hook(), {"id": "chain", "steps": [{"webhook": "hook"}]})
    monkeypatch.setattr(secrets_module, "SECRET_AGE_S", 0.0)
    plans = CallPlans(process(), POLICY)
    assert plans.chain_mask("acme", {"hook": 1}).text(FIRST)[0] == "[redacted]"
    registry.secrets.set("acme", "KEY", SECOND)
    assert plans.chain_mask("acme", {"hook": 1}).text(f"{FIRST} {SECOND}")[0] == "[redacted] [redacted]"
    assert plans.chain_mask("acme", {"hook": 1}) is plans.chain_mask("acme", {"hook": 1})


def test_a_plan_without_references_asks_for_no_secret(process, registry, monkeypatch):
    apply(registry, hook(headers={"X-Key": "own-value"}))
    reader = process()
    monkeypatch.setattr(reader, "secrets", None)
    assert sent_key(CallPlans(reader, POLICY)) == "own-value"


def test_an_older_revision_whose_secret_is_gone_or_does_not_fit_has_no_plan(process, registry, monkeypatch):
    monkeypatch.setattr(secrets_module, "SECRET_AGE_S", 0.0)
    registry.secrets.set("acme", "KEY", FIRST)
    apply(registry, hook())
    apply(registry, hook(headers={}))
    registry.secrets.set("acme", "KEY", "two\nlines")
    plans = CallPlans(process(), POLICY)
    with pytest.raises(DocumentError):
        plans.of("acme", "hook", 1)
    registry.secrets.remove("acme", "KEY")
    with pytest.raises(NotFound):
        plans.of("acme", "hook", 1)
