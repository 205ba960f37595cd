import dataclasses
import logging
import threading
import time
from contextvars import copy_context

import pytest

from relay.audit.actor import act_as_operator
from relay.audit.entry import name_of
from relay.errors import Conflict, DocumentError, Fault, NotFound, SettingsError, VaultError
from relay.registration import Shape, Target, target_from_json
from relay.registration.building import Registration
from relay.registration.endpoint import Endpoint
from relay.registration.retrying import RetryPolicy
from relay.registration.stored_secrets import reference
from relay.store.decisions.stored import StoredChain
from relay.store.keys import keyspace
from relay.store.registry import uses as uses_module
from relay.store.registry import webhooks as registry_module
from relay.store.registry.revisions import Applied
from relay.store.registry.webhooks import POINTER_AGE_S, Registry
from relay.text.quantities import Rate
from relay.vault import Vault, target_owner
from tests.contract.ledger import Ledger, ids
from tests.store_keys import KEYS

SECRET = "Bearer planted-secret-value"


@pytest.fixture
def vault():
    return Vault.from_text(Vault.new_key_text())


@pytest.fixture
def registry(redis_client, vault):
    return Registry(redis_client, vault, vault)


def a_registration(webhook_id="ping", *, path="/in", secret=SECRET, **shape):
    target = Target(Endpoint("https", "planted.example.com", 443, path), {"Authorization": secret})
    return Registration(Shape(webhook_id, shape.pop("method", "POST"), **shape), target)


def dump(redis_client):
    """Return all names and values of the store as one text."""
    parts = []
    for name in sorted(redis_client.scan_iter()):
        kind = redis_client.type(name)
        read = {
            b"hash": redis_client.hgetall,
            b"set": redis_client.smembers,
            b"string": redis_client.get,
            b"list": lambda name: redis_client.lrange(name, 0, -1),
        }[kind]
        parts += [name, repr(read(name)).encode()]
    return b"\n".join(parts)


def test_a_new_webhook_is_current_with_revision_one(registry):
    assert registry.apply("acme", [a_registration()]) == [Applied("ping", 1, "created")]
    number, shape = registry.current("acme", "ping")
    assert (number, shape) == (1, a_registration().shape)


def test_a_number_that_a_server_without_its_data_gives_again_is_read_again(registry, redis_client, vault, monkeypatch):
    registry.apply("acme", [a_registration(path="/before")])
    assert registry.current("acme", "ping")[1].method == "POST"
    assert registry.open_target("acme", "ping", 1).endpoint.path == "/before"
    redis_client.flushall()
    redis_client.function_flush()
    read = StoredChain.read
    monkeypatch.setattr(StoredChain, "read", lambda self, start: (*read(self, start)[:2], "another server's run"))
    registry._decisions.of("acme")._server = "the run that had it"
    Registry(redis_client, vault, vault).apply("acme", [a_registration(path="/after", method="PUT")])
    assert registry.current("acme", "ping", refresh=True)[1].method == "PUT"
    assert registry.open_target("acme", "ping", 1).endpoint.path == "/after"


def test_a_revision_gives_shape_and_target_back(registry):
    registry.apply("acme", [a_registration()])
    assert registry.revision("acme", "ping", 1).shape == a_registration().shape
    assert registry.open_target("acme", "ping", 1) == a_registration().target


def test_a_plugin_s_current_revisions_come_in_the_order_of_their_ids_with_who_made_each(registry, redis_client):
    def apply_by(who, *names):
        act_as_operator(who)
        registry.apply("acme", [a_registration(name, path=f"/{who}") for name in names])

    for who, names in (("ann", ("c", "a")), ("bob", ("b", "c"))):
        copy_context().run(apply_by, who, *names)
    found = registry.shapes("acme")
    assert [(each.shape.webhook_id, each.number, name_of(each.by)) for each in found] == [
        *(("a", 1, "ann"), ("b", 1, "bob"), ("c", 2, "bob")),
    ]
    assert len({each.stamp for each in found}) == 3
    assert all(abs(each.created_at_ms - time.time() * 1_000) < 60_000 for each in found)
    assert name_of(registry.revision("acme", "c", 1).by) == "ann"
    assert registry.unverified("acme") == []
    redis_client.hset(KEYS.webhooks("acme"), mapping={"planted": 1, "b": 7})
    assert Registry(redis_client, Vault.from_text(Vault.new_key_text())).unverified("acme") == [
        "a",
        "b",
        "c",
        "planted",
    ]
    assert registry.unverified("acme") == ["b", "planted"]


def test_an_earlier_revision_that_is_made_current_again_is_not_listed_by_who_knew_it(registry, redis_client, vault):
    other = Registry(redis_client, vault, vault)
    registry.apply("acme", [a_registration()])
    assert [each.number for each in other.shapes("acme")] == [1]
    registry.apply("acme", [a_registration(path="/2")])
    redis_client.hset(KEYS.webhooks("acme"), "ping", 1)
    assert other.shapes("acme") == []
    assert other.unverified("acme") == ["ping"]


def test_an_identical_registration_makes_no_new_revision(registry):
    registry.apply("acme", [a_registration()])
    assert registry.apply("acme", [a_registration()]) == [Applied("ping", 1, "unchanged")]


@pytest.mark.parametrize(
    "change", [{"path": "/other"}, {"secret": "another-secret"}, {"timeout_ms": 5}, {"method": "PUT"}]
)
def test_a_change_of_shape_or_target_makes_a_new_revision_and_keeps_the_old(registry, change):
    registry.apply("acme", [a_registration()])
    assert registry.apply("acme", [a_registration(**change)]) == [Applied("ping", 2, "changed")]
    assert registry.current("acme", "ping")[0] == 2
    assert registry.open_target("acme", "ping", 1) == a_registration().target
    assert registry.open_target("acme", "ping", 2) == a_registration(**change).target


def test_a_document_of_several_webhooks_reports_each(registry):
    registry.apply("acme", [a_registration("a"), a_registration("b")])
    applied = registry.apply("acme", [a_registration("a"), a_registration("b", path="/x"), a_registration("c")])
    assert applied == [Applied("a", 1, "unchanged"), Applied("b", 2, "changed"), Applied("c", 1, "created")]


def test_apply_adds_and_changes_but_never_removes(registry):
    registry.apply("acme", [a_registration("a")])
    registry.apply("acme", [a_registration("b")])
    assert [each.shape.webhook_id for each in registry.shapes("acme")] == ["a", "b"]


def test_a_dry_run_says_what_would_happen_and_stores_nothing(registry, redis_client):
    registry.apply("acme", [a_registration("a")])
    before = dump(redis_client)
    applied = registry.apply("acme", [a_registration("a", path="/x"), a_registration("b")], dry_run=True)
    assert applied == [Applied("a", 2, "changed"), Applied("b", 1, "created")]
    assert dump(redis_client) == before


def test_an_empty_document_changes_nothing(registry, redis_client):
    assert registry.apply("acme", []) == []
    assert redis_client.keys("*") == []


def test_a_removed_webhook_is_unknown_and_its_number_is_never_given_again(registry):
    registry.apply("acme", [a_registration()])
    assert registry.remove("acme", "ping")
    assert registry.current("acme", "ping") is None
    assert registry.shapes("acme") == []
    assert not registry.remove("acme", "ping")
    assert registry.apply("acme", [a_registration()]) == [Applied("ping", 2, "created")]
    assert registry.open_target("acme", "ping", 1) == a_registration().target


@pytest.mark.parametrize(("kept", "following"), [(None, 4), (1, 4), (3, 4), (9, 10)])
def test_no_revision_is_given_again_whichever_of_its_two_records_is_older(
    registry, redis_client, vault, kept, following
):
    for number in range(3):
        registry.apply("acme", [a_registration(path=f"/{number}")])
    key = KEYS.of_plugin("last_revision", "acme", webhook="ping")
    redis_client.delete(key) if kept is None else redis_client.set(key, kept)
    other = Registry(redis_client, vault, vault)
    assert other.last_revision("acme", "ping") == following - 1
    assert other.apply("acme", [a_registration(path="/next")]) == [Applied("ping", following, "changed")]


def test_plugins_with_the_same_webhook_id_do_not_share_it(registry):
    registry.apply("acme", [a_registration(path="/acme")])
    registry.apply("other", [a_registration(path="/other")])
    assert registry.open_target("acme", "ping", 1).endpoint.path == "/acme"
    assert registry.remove("other", "ping")
    assert registry.current("acme", "ping")
    assert registry.current("other", "ping") is None
    assert registry.current("ac", "me:ping") is None


def test_a_plugin_exists_once_something_is_registered(registry, redis_client):
    registry.apply("acme", [a_registration()])
    assert redis_client.smembers("relay:{0}:plugins") == {b"acme"}


def test_neither_secret_nor_address_is_stored_in_clear(registry, redis_client):
    registry.apply("acme", [a_registration()])
    stored = dump(redis_client)
    assert b"ping" in stored
    assert b"planted" not in stored


def test_a_target_pasted_under_another_webhook_does_not_open(registry, redis_client):
    registry.apply("acme", [a_registration("a"), a_registration("b", path="/b")])
    stolen = redis_client.get("relay:{0}:target:acme:a:1")
    redis_client.set("relay:{0}:target:acme:b:1", stolen)
    with pytest.raises(VaultError):
        registry.open_target("acme", "b", 1)


def test_without_target_keys_shapes_can_be_read_and_targets_cannot(registry, redis_client):
    registry.apply("acme", [a_registration()])
    door = Registry(redis_client, registry._target_vault)
    assert door.current("acme", "ping") == (1, a_registration().shape)
    assert door.shapes("acme")[0].shape == a_registration().shape
    with pytest.raises(SettingsError):
        door.open_target("acme", "ping", 1)
    with pytest.raises(SettingsError):
        door.apply("acme", [a_registration("other")])


def test_registering_again_repairs_a_webhook_whose_target_key_is_lost(registry, redis_client):
    registry.apply("acme", [a_registration()])
    later = Registry(redis_client, registry._target_vault, Vault.from_text(Vault.new_key_text()))
    with pytest.raises(VaultError):
        later.open_target("acme", "ping", 1)
    assert later.apply("acme", [a_registration()]) == [Applied("ping", 2, "changed")]
    assert later.open_target("acme", "ping", 2) == a_registration().target


def test_an_unknown_revision_is_not_found_and_not_remembered_as_such(registry):
    for read in (registry.revision, registry.open_target):
        with pytest.raises(NotFound):
            read("acme", "ping", 1)
    registry.apply("acme", [a_registration()])
    assert registry.revision("acme", "ping", 1)


def test_a_webhook_registered_by_another_process_is_known_at_once(registry, redis_client):
    door = Registry(redis_client, registry._target_vault)
    assert door.current("acme", "ping") is None
    registry.apply("acme", [a_registration()])
    assert door.current("acme", "ping")


def test_a_change_by_another_process_is_seen_within_a_second_and_at_once_on_demand(registry, redis_client):
    registry.apply("acme", [a_registration()])
    door, eager = Registry(redis_client, registry._target_vault), Registry(redis_client, registry._target_vault)
    assert door.current("acme", "ping")[0] == eager.current("acme", "ping")[0] == 1
    registry.apply("acme", [a_registration(path="/x")])
    assert eager.current("acme", "ping", refresh=True)[0] == 2
    assert eager.current("acme", "ping")[0] == 2
    time.sleep(POINTER_AGE_S)
    assert door.current("acme", "ping")[0] == 2


def test_a_removal_by_another_process_is_seen_at_once_on_demand(registry, redis_client):
    registry.apply("acme", [a_registration()])
    door = Registry(redis_client, registry._target_vault)
    assert door.current("acme", "ping")
    registry.remove("acme", "ping")
    assert door.current("acme", "ping", refresh=True) is None
    assert door.current("acme", "ping") is None


def test_what_is_remembered_of_pointers_is_bounded(registry, monkeypatch):
    monkeypatch.setattr(registry_module, "MAX_POINTERS", 2)
    ids = [f"w{number}" for number in range(5)]
    registry.apply("acme", [a_registration(webhook_id) for webhook_id in ids])
    assert all(registry.current("acme", webhook_id) for webhook_id in ids)
    assert len(registry._pointers) <= 2


def test_a_plugin_has_a_bounded_number_of_webhooks(registry, monkeypatch):
    monkeypatch.setattr(registry_module, "MAX_WEBHOOKS", 2)
    registry.apply("acme", [a_registration("a"), a_registration("b")])
    registry.apply("acme", [a_registration("b", path="/x")])
    with pytest.raises(DocumentError) as caught:
        registry.apply("acme", [a_registration("b", path="/y"), a_registration("c")])
    assert caught.value.faults == (Fault("", "a plugin has at most 2 webhooks"),)
    assert registry.open_target("acme", "b", 2).endpoint.path == "/x"
    assert registry.current("acme", "b")[0] == 2


@pytest.mark.parametrize("most", [1, 2, 3, 4])
def test_so_many_faults_of_a_document_are_named_and_nothing_is_written(registry, redis_client, monkeypatch, most):
    monkeypatch.setattr(uses_module, "MAX_FAULTS", most)
    with pytest.raises(DocumentError) as caught:
        registry.apply("acme", [a_registration(name, callback="gone") for name in "cab"])
    assert [fault.pointer for fault in caught.value.faults] == ["/callback"] * min(most, 3)
    assert redis_client.keys("*") == []


def test_a_repeated_apply_whose_reply_was_lost_changes_nothing_and_answers_as_the_first_time(registry, redis_client):
    registry.apply("acme", [a_registration("a")])
    end = next(registry._decisions.of("acme").ends())
    planned = registry._plan("acme", [a_registration("a"), a_registration("b")])
    assert registry._commit("acme", planned, end)
    before = dump(redis_client)
    assert registry._commit("acme", planned, end)
    assert dump(redis_client) == before
    # also after another process has registered more since
    registry.apply("acme", [a_registration("b", path="/x")])
    before = dump(redis_client)
    assert registry._commit("acme", planned, end)
    assert dump(redis_client) == before


def test_an_apply_planned_on_what_has_changed_since_writes_nothing(registry, redis_client):
    registry.apply("acme", [a_registration("a")])
    end = next(registry._decisions.of("acme").ends())
    planned = registry._plan("acme", [a_registration("new"), a_registration("a", path="/x")])
    registry.apply("acme", [a_registration("a", path="/y")])
    before = dump(redis_client)
    assert not registry._commit("acme", planned, end)
    assert dump(redis_client) == before


@pytest.mark.parametrize("based_on", [1, 0])
def test_a_change_of_another_revision_than_the_current_one_is_refused_and_one_that_is_done_is_confirmed(
    registry, based_on
):
    registry.apply("acme", [a_registration(path="/1")])
    registry.apply("acme", [a_registration(path="/2")], based_on={"ping": 1})
    with pytest.raises(Conflict, match="revision 2 is current"):
        registry.apply("acme", [a_registration(path="/3")], based_on={"ping": based_on})
    assert registry.current("acme", "ping", refresh=True)[0] == 2
    # As after a lost reply, when something else was decided before the command was repeated.
    done = registry.apply("acme", [a_registration(path="/2")], based_on={"ping": based_on})
    assert done == [Applied("ping", 2, "unchanged")]
    registry.remove("acme", "ping")
    with pytest.raises(Conflict, match="not registered any more"):
        registry.apply("acme", [a_registration(path="/3")], based_on={"ping": 2})
    assert registry.apply("acme", [a_registration(path="/3")], based_on={"ping": 0}) == [Applied("ping", 3, "created")]


DAMAGES = {
    "gone": lambda client, key: client.delete(key),
    "of another type": lambda client, key: client.delete(key) and client.set(key, "planted"),
    "no JSON": lambda client, key: client.hset(key, "shape", "planted"),
    "no object": lambda client, key: client.hset(key, "shape", "7"),
    "of no shape": lambda client, key: client.hset(key, "shape", '{"uses": 7}'),
    "of no secrets": lambda client, key: client.hset(key, "shape", '{"uses": [], "secrets": 7}'),
}


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_webhook_whose_revision_is_damaged_can_be_removed_or_registered_again_and_so_can_what_it_used(
    registry, redis_client, vault, damage, again
):
    registry.secrets.set("acme", "KEY", "planted-value")
    using = a_registration("using", secret=reference("KEY"), callback="used", secrets=("KEY",))
    registry.apply("acme", [a_registration("used"), using])
    DAMAGES[damage](redis_client, KEYS.revision("acme", "using", 1))
    other = Registry(redis_client, vault, vault)
    assert other.unverified("acme") == ["using"]
    with pytest.raises(Conflict, match="`using`"):
        other.remove("acme", "used")
    if again:
        assert other.apply("acme", [using]) == [Applied("using", 2, "changed")]
    assert other.remove("acme", "using")
    assert other.unverified("acme") == []
    assert other.remove("acme", "used")
    assert other.secrets.remove("acme", "KEY")


def test_an_apply_that_lost_a_race_plans_again(registry, redis_client, monkeypatch):
    plan, raced = registry._plan, []

    def plan_and_lose_once(plugin, registrations):
        planned = plan(plugin, registrations)
        if not raced:
            raced.append(
                Registry(redis_client, registry._target_vault, registry._target_vault).apply(
                    "acme", [a_registration(path="/theirs")]
                )
            )
        return planned

    monkeypatch.setattr(registry, "_plan", plan_and_lose_once)
    assert registry.apply("acme", [a_registration(path="/ours")]) == [Applied("ping", 2, "changed")]
    assert registry.open_target("acme", "ping", 1).endpoint.path == "/theirs"
    assert registry.open_target("acme", "ping", 2).endpoint.path == "/ours"


def test_an_apply_that_loses_every_race_is_a_conflict(registry, monkeypatch):
    monkeypatch.setattr("relay.store.decisions.decisions._TRY_S", 0.2)
    monkeypatch.setattr(registry, "_commit", lambda *_: False)
    with pytest.raises(Conflict):
        registry.apply("acme", [a_registration()])


def test_concurrent_applies_give_every_registration_a_revision_of_its_own(valkey, vault):
    applied, errors = [], []

    def register(number):
        with valkey.client() as client:
            try:
                applied.extend(Registry(client, vault, vault).apply("acme", [a_registration(path=f"/{number}")]))
            except Conflict as error:
                errors.append(error)

    threads = [threading.Thread(target=register, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    numbers = sorted(each.revision for each in applied)
    assert numbers == list(range(1, len(applied) + 1))
    with valkey.client() as client:
        registry = Registry(client, vault, vault)
        assert registry.current("acme", "ping")[0] == len(applied)
        assert len({registry.open_target("acme", "ping", number).endpoint.path for number in numbers}) == len(numbers)
    assert len(applied) + len(errors) == 4


def test_a_revision_s_target_is_stored_sealed_for_its_owner(registry, redis_client, vault):
    registry.apply("acme", [a_registration()])
    stored = registry.revision("acme", "ping", 1)
    sealed = redis_client.get("relay:{0}:target:acme:ping:1")
    opened = vault.open(sealed, target_owner("acme", "ping", 1, stored.stamp, stored.shape_json))
    assert target_from_json(opened) == a_registration().target
    assert stored.created_at_ms > 1_600_000_000_000


OTHER_LIMITS = ({}, {"concurrency": 5}, {"rate": Rate(100, 1)}, {"concurrency": 5, "rate": Rate(100, 1)})


@pytest.mark.parametrize("before", [{"concurrency": 1}, {"rate": Rate(1, 3_600)}])
@pytest.mark.parametrize("after", OTHER_LIMITS)
def test_calls_that_only_the_old_limits_held_back_may_go_once_others_are_registered(
    registry, redis_client, before, after
):
    registry.apply("acme", [a_registration(**before)])
    ledger = Ledger(redis_client)
    refs = ledger.accepted_many(3, webhook_id="ping")
    assert ledger.store.claim(refs, "t1").parked == set(refs[1:])
    list(ledger.store.revisit("acme", "ping"))  # as the first registration asks for
    assert ledger.store.revisits(0, limit=10) == []
    registry.apply("acme", [a_registration(**after)])
    redis_client.hincrbyfloat(KEYS.policy("acme", "ping"), "tat", -1_000)  # as if a second had passed
    assert ledger.store.revisits(0, limit=10) == [("acme", "ping")]
    woken = [ref for page in ledger.store.revisit("acme", "ping") for ref in ids(page)]
    assert woken == refs[1:]
    assert ledger.store.claim(woken, "t2").granted == set(woken)


def test_limits_stand_beside_the_revision_for_the_claim_script(registry, redis_client):
    policy = KEYS.policy("acme", "ping")
    registry.apply("acme", [a_registration(concurrency=3, rate=Rate(6, 60), retry=RetryPolicy(2))])
    assert redis_client.hgetall(policy) == {
        b"concurrency": b"3",
        b"rateCount": b"6",
        b"ratePeriod": b"60000",
        b"retry": b"1",
    }
    redis_client.hset(policy, "paused", 1)
    registry.apply("acme", [a_registration()])
    assert redis_client.hgetall(policy) == {
        b"concurrency": b"",
        b"rateCount": b"",
        b"ratePeriod": b"",
        b"retry": b"",
        b"paused": b"1",
    }


def test_a_target_does_not_open_beside_a_shape_that_somebody_loosened(registry, redis_client, vault):
    registry.apply("acme", [a_registration()])
    loosened = dataclasses.replace(a_registration().shape, fillable_headers=("X-Admin",))
    redis_client.hset(KEYS.revision("acme", "ping", 1), "shape", loosened.to_json())
    with pytest.raises(VaultError):
        Registry(redis_client, vault, vault).open_target("acme", "ping", 1)


# -- what a writer of the server can do --------------------------------------------------------------------------------


def test_a_removed_webhook_is_not_revived_by_writing_its_pointer_back(registry, redis_client, events_of):
    told = events_of(registry_module)
    registry.apply("acme", [a_registration()])
    registry.remove("acme", "ping")
    assert registry.current("acme", "ping", refresh=True) is None
    assert told == []
    redis_client.hset("relay:{0}:p:acme:webhooks", "ping", 1)
    assert registry.current("acme", "ping", refresh=True) is None
    assert told == [("revision_unverified", {"level": logging.ERROR, "plugin": "acme", "webhook": "ping"})]
    assert registry.shapes("acme") == []
    assert registry.unverified("acme") == ["ping"]


@pytest.mark.parametrize("change", ["older revision", "another webhook's", "made up", "loosened shape", "no decision"])
def test_only_what_a_relay_has_made_current_is_current(registry, redis_client, vault, change):
    registry.apply("acme", [a_registration(), a_registration("other")])
    registry.apply("acme", [a_registration(path="/second")])
    decisions = keyspace.decisions()
    _, other, second = redis_client.lrange(decisions, 0, -1)
    if change == "older revision":
        redis_client.hset("relay:{0}:p:acme:webhooks", "ping", 1)
    elif change == "another webhook's":
        redis_client.lset(decisions, 2, second.replace(second.split()[2], other.split()[2]))
    elif change == "made up":
        redis_client.lset(decisions, 2, second[:-64] + b"0" * 64)
    elif change == "no decision":
        redis_client.rpop(decisions)
    else:
        shape = redis_client.hget("relay:{0}:p:acme:webhook:ping:2", "shape")
        redis_client.hset(
            "relay:{0}:p:acme:webhook:ping:2", "shape", shape.replace(b'"hidden":true', b'"hidden":false') + b" "
        )
    door = Registry(redis_client, vault)
    assert door.current("acme", "ping") is None
    assert [each.shape.webhook_id for each in door.shapes("acme")] == ["other"]


def test_registering_again_makes_a_tampered_webhook_current(registry, redis_client):
    registry.apply("acme", [a_registration()])
    redis_client.hset(KEYS.revision("acme", "ping", 1), "stamp", "0" * 16)
    assert registry.apply("acme", [a_registration()]) == [Applied("ping", 2, "changed")]
    assert registry.current("acme", "ping", refresh=True)[0] == 2
