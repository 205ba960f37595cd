import json
import threading
from operator import itemgetter
from queue import SimpleQueue

import fakeredis
import pytest
import redis

from relay.accept.dispatcher import GROUP_ITEMS, Dispatcher
from relay.accept.intake import Intake, TriggerRequest
from relay.domain.invocation import Outcome, Purpose, State
from relay.domain.reference_id import new_reference_id
from relay.egress import AddressPolicy
from relay.errors import (
    BadParameter,
    Expired,
    IdempotencyKeyReused,
    OverCapacity,
    RequestRejected,
    StoreFault,
    Unavailable,
    WebhookNotRegistered,
)
from relay.registration.document import read_registrations
from relay.registration.endpoint import EndpointRules
from relay.request.trigger import Trigger
from relay.store.keys.names import ROOT, key_in
from relay.store.ledger import invocations
from relay.store.ledger.acceptance import Accepted, AcceptVerdict
from relay.store.ledger.invocations import REFUSALS_A_MINUTE, InvocationStore
from relay.store.ledger.limits import Limits
from relay.store.registry.webhooks import Registry
from relay.store.subjects.hashes import SubjectHashes
from relay.vault import Vault, payload_owner
from tests.store_keys import KEYS

DAY_MS = 24 * 3600 * 1000
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
RULES = EndpointRules(AddressPolicy(), frozenset())
HOOKS = """
{id: "order", url: "https://hook.example.com/orders", method: "POST", headers: {"X-Locale": null},
 queryParams: ["lang"], timeout: 7}
{id: "secret-step", url: "https://hook.example.com/login", method: "POST", hidden: true}
"""


class Lanes:
    """Stands in for the broker: keeps the messages that are left to publish, in order."""

    def __init__(self):
        self.announced = []

    def messages(self, lanes, partition):
        return [(lane, b"") for lane in sorted(lanes)]

    def announce(self, messages):
        self.announced += messages


class HeldUp(Lanes):
    """A broker that is asked while a group is committed, and holds the commit up."""

    def __init__(self):
        super().__init__()
        self.entered, self.go_on = threading.Event(), threading.Event()

    def messages(self, lanes, partition):
        self.entered.set()
        assert self.go_on.wait(60)
        return super().messages(lanes, partition)


class OneDatabase(Lanes):
    """A broker that is the store's database, so that the script may put messages into the lanes."""

    def messages(self, lanes, partition):
        return [(lane, f"{lane} {partition}".encode()) for lane in sorted(lanes)]


class Harness:
    """A dispatcher over a fake server, with two webhooks of plugin ``acme``."""

    def __init__(self, lanes=None, **limits):
        self.client = fakeredis.FakeRedis(server=fakeredis.FakeServer())
        self.vault = Vault.from_text(Vault.new_key_text())
        self.registry = Registry(self.client, self.vault, Vault.from_text(Vault.new_key_text()))
        self.store = InvocationStore(self.client, a_limit(**limits), lease_margin_ms=10_000)
        self.lanes = lanes or Lanes()
        self.subjects = SubjectHashes(self.client, self.vault)
        self.dispatcher = Dispatcher(self.registry, self.store, self.vault, self.subjects, self.lanes)
        self.register(HOOKS)

    def register(self, text, plugin="acme"):
        plugin, registrations = read_registrations(text, RULES, plugin=plugin)
        self.registry.apply(plugin, registrations)

    def trigger(self, **changes):
        return self.dispatcher.trigger(a_call(**changes))

    def waiting(self, lane="bulk"):
        return [ref.decode() for ref in self.client.lrange(key_in(ROOT, "waiting", lane=lane), 0, -1)]

    def record(self, reference_id, plugin="acme"):
        return self.store.get(plugin, reference_id)


def a_limit(**changes):
    fields = {"max_pending": 1000, "max_pending_per_plugin": 1000, "max_pending_bytes": 1 << 30}
    keep = {
        "retention_ms": 30 * DAY_MS,
        "failed_retention_ms": 30 * DAY_MS,
        "rejected_retention_ms": 30 * DAY_MS,
        "max_age_ms": DAY_MS,
    }
    return Limits(**(fields | keep | changes))


def a_call(**changes):
    fields = {
        "plugin": "acme",
        "webhook_id": "order",
        "value": {"data": {"a": 1}},
        "reference_id": new_reference_id(),
        "caller": "k1",
    }
    return TriggerRequest(**(fields | changes))


@pytest.fixture
def harness():
    return Harness()


def test_an_accepted_trigger_is_recorded_sealed_and_published(harness):
    accepted = harness.trigger(
        value={"data": {"name": "Ann"}, "headers": {"x-locale": "en"}, "queryParams": {"lang": 1}}, traceparent=TRACE
    )
    record = harness.record(accepted.reference_id)
    assert (record.state, record.lane, record.timeout_ms) == (State.QUEUED, "bulk", 7000)
    assert (record.caller, record.traceparent) == ("k1", TRACE)
    assert (harness.waiting(), harness.lanes.announced) == ([accepted.reference_id], [("bulk", 0)])
    sealed = harness.store.payload_of(accepted.reference_id)
    assert b"Ann" not in sealed
    stamp = harness.registry.revision("acme", "order", 1).stamp
    trigger = Trigger.from_json(
        harness.vault.open(sealed, payload_owner("acme", accepted.reference_id, Purpose("order", 1), stamp))
    )
    assert trigger == Trigger({"name": "Ann"}, {"X-Locale": "en"}, {"lang": "1"})


def test_an_awaited_trigger_takes_the_interactive_lane_and_names_who_waits(harness):
    accepted = harness.trigger(awaited=True, waiter="api-1")
    assert harness.record(accepted.reference_id).lane == "interactive"
    assert harness.client.hget(KEYS.record(accepted.reference_id), "waiters") == b"api-1"


@pytest.mark.parametrize(
    ("changes", "error", "outcome"),
    [
        ({"webhook_id": "nothing"}, WebhookNotRegistered, Outcome.WEBHOOK_NOT_REGISTERED),
        ({"webhook_id": "secret-step"}, WebhookNotRegistered, Outcome.WEBHOOK_NOT_REGISTERED),
        ({"plugin": "other"}, WebhookNotRegistered, Outcome.WEBHOOK_NOT_REGISTERED),
        ({"webhook_id": "No such id:\r\n{x}"}, WebhookNotRegistered, Outcome.WEBHOOK_NOT_REGISTERED),
        ({"value": []}, RequestRejected, Outcome.REQUEST_REJECTED),
        ({"value": {"headers": {"X-Other": "1"}}}, RequestRejected, Outcome.REQUEST_REJECTED),
    ],
)
def test_a_refused_trigger_leaves_a_rejected_record_without_contents(harness, changes, error, outcome):
    with pytest.raises(error) as raised:
        harness.trigger(**changes, traceparent=TRACE)
    record = harness.record(raised.value.reference_id, plugin=changes.get("plugin", "acme"))
    assert (record.state, record.outcome) == (State.REJECTED, outcome)
    assert (record.caller, record.traceparent, record.lane) == ("k1", TRACE, "bulk")
    assert harness.store.payload_of(record.reference_id) is None
    assert (harness.waiting(), harness.lanes.announced) == ([], [])


def test_an_id_that_cannot_be_one_enters_no_key_and_no_record(harness):
    with pytest.raises(WebhookNotRegistered) as raised:
        harness.trigger(webhook_id="a:b\n")
    assert harness.record(raised.value.reference_id).webhook_id == ""
    assert not [key for key in harness.client.scan_iter() if b"a:b" in key]


def test_refusals_beyond_the_limit_are_only_counted_and_name_no_record(harness):
    recorded = 0
    for _ in range(2 * REFUSALS_A_MINUTE + 1):  # a new minute may begin meanwhile
        with pytest.raises(WebhookNotRegistered) as raised:
            harness.trigger(webhook_id="nothing")
        if raised.value.reference_id is None:
            break
        recorded += 1
    assert REFUSALS_A_MINUTE <= recorded <= 2 * REFUSALS_A_MINUTE


def test_the_same_key_and_trigger_is_the_same_invocation(harness):
    first = harness.trigger(idempotency_key="k-1", value={"data": {"a": 1, "b": 2}})
    again = harness.trigger(idempotency_key="k-1", value={"data": {"b": 2, "a": 1}, "headers": None})
    assert (again.verdict, again.reference_id) == (AcceptVerdict.KNOWN, first.reference_id)
    assert (harness.waiting(), harness.lanes.announced) == ([first.reference_id], [("bulk", 0)])


def test_the_same_key_with_another_trigger_is_refused_and_leaves_a_record(harness):
    first = harness.trigger(idempotency_key="k-1")
    with pytest.raises(IdempotencyKeyReused) as raised:
        harness.trigger(idempotency_key="k-1", value={"data": {"a": 2}})
    assert raised.value.reference_id != first.reference_id
    assert harness.record(raised.value.reference_id).state is State.REJECTED


CALLED_BACK = """{id: "order", url: "https://hook.example.com/orders", method: "POST", callback: "told"}
{id: "told", url: "https://hook.example.com/told", method: "POST"}"""


@pytest.mark.parametrize("value", [{"data": {"a": 2}}, {"data": {}, "headers": {"X-Note": "n"}}, {"delay": -1}])
def test_whatever_of_a_registered_webhook_is_refused_names_its_revision_and_calls_back(harness, value):
    harness.register(CALLED_BACK)
    harness.trigger(idempotency_key="k-1")
    refused = []
    for submit in (submit_as_list, submit_together):
        refused += submit(harness, [a_call(idempotency_key="k-1", value=value)])
        assert harness.record(refused[-1].reference_id).revision == 2
    assert harness.client.zrange(KEYS.callbacks(), 0, -1) == sorted(each.reference_id.encode() for each in refused)


@pytest.mark.parametrize("change", ["changed", "removed"])
def test_a_repeat_is_the_first_invocation_although_its_webhook_has_changed_or_is_gone(harness, change):
    def repeat(submit):
        (again,) = submit(harness, [a_call(idempotency_key="k-1", value={"headers": {"X-Locale": "en"}})])
        return again.verdict, again.reference_id

    _, first = repeat(submit_as_list)
    if change == "changed":  # so that the trigger does not fit any more
        harness.register('{id: "order", url: "https://hook.example.com/orders", method: "POST"}')
    else:
        harness.registry.remove("acme", "order")
    assert [repeat(submit) for submit in (submit_as_list, submit_together)] == [(AcceptVerdict.KNOWN, first)] * 2


#: Each differs from all others; a delay is compared as the time that it is, as commands write fractions.
TRIGGERS = [
    {"data": {"a": 1}},
    {"data": {"a": 2}},
    {"data": {"a": 1}, "headers": {"X-Note": "n"}},
    {"data": {"a": 1}, "queryParams": {"page": 1}},
    {"data": {"a": 1}, "subject": "patient 7"},
    {"data": {"a": 1}, "delay": 5},
    {"data": {"a": 1}, "delay": 2_592_000},
]
EVERY_MEMBER = """{id: "every", url: "https://hook.example.com/x", method: "POST", headers: {"X-Note": null},
    queryParams: ["page"]}"""


def outcome_of(harness, submit, value):
    (outcome,) = submit(harness, [a_call(webhook_id="every", idempotency_key="k-1", value=value)])
    return outcome


@pytest.mark.parametrize("first", TRIGGERS)
def test_a_key_is_for_one_trigger_whichever_of_its_members_differs(harness, first):
    harness.register(EVERY_MEMBER)
    accepted = harness.trigger(webhook_id="every", idempotency_key="k-1", value=first)
    for submit in (submit_as_list, submit_together):
        for value in TRIGGERS:
            outcome = outcome_of(harness, submit, value)
            if value == first:
                assert (outcome.verdict, outcome.reference_id) == (AcceptVerdict.KNOWN, accepted.reference_id)
            else:
                assert isinstance(outcome, IdempotencyKeyReused)


@pytest.mark.parametrize(("delay", "waits_ms"), [(None, None), (0, None), (0.5, 500), (60, 60_000)])
def test_a_call_waits_as_long_as_its_trigger_says(harness, delay, waits_ms):
    record = harness.record(harness.trigger(value={"delay": delay}).reference_id)
    waited = None if record.not_before_ms is None else record.not_before_ms - record.created_at_ms
    assert waited == waits_ms


@pytest.mark.parametrize(("first", "again"), [(0, None), (None, 0.0), (5, 5.0), (0.5, 0.5)])
def test_a_delay_is_compared_as_the_time_that_it_is(harness, first, again):
    accepted = harness.trigger(idempotency_key="k-1", value={"data": {"a": 1}, "delay": first})
    known = harness.trigger(idempotency_key="k-1", value={"data": {"a": 1}, "delay": again})
    assert (known.verdict, known.reference_id) == (AcceptVerdict.KNOWN, accepted.reference_id)


@pytest.mark.parametrize(
    ("value", "canonical"),
    [
        ({}, '{"data":null,"headers":{},"queryParams":{}}'),
        ({"subject": "ann", "delay": 0.5}, '{"data":null,"delayMs":500,"headers":{},"queryParams":{},"subject":"ann"}'),
        (
            {
                "queryParams": {"b": 1, "a": "x"},
                "pathParams": {"c": True},
                "data": {"z": 1, "é": [1.5]},
                "headers": None,
            },
            '{"data":{"z":1,"\\u00e9":[1.5]},"headers":{},"pathParams":{"c":true},"queryParams":{"a":"x","b":1}}',
        ),
    ],
    ids=str,
)
def test_a_key_is_compared_in_the_form_that_earlier_releases_have_stored(harness, value, canonical):
    call = a_call(value=value, idempotency_key="k-1")
    known = Intake(harness.registry, harness.vault, harness.subjects).check_in(call, fresh=False).new.idempotency
    place = (b"acme", b"order")
    assert known.macs == harness.vault.macs(b"idempotency key", *place, b"k-1")
    assert known.fingerprints == harness.vault.macs(b"idempotency fingerprint", *place, canonical.encode())


@pytest.mark.parametrize("name", ["delay", "subject", "headers", "queryParams", "pathParams", "nope"])
def test_a_malformed_member_is_refused_although_its_key_was_used_before(harness, name):
    harness.trigger(idempotency_key="k-1")
    with pytest.raises(RequestRejected) as raised:
        harness.trigger(idempotency_key="k-1", value={"data": {"a": 1}, name: ["nope"]})
    assert [fault.pointer for fault in raised.value.faults] == [f"/{name}"]


def test_a_key_whose_invocation_is_gone_has_expired_alone_and_in_a_list(harness):
    first = harness.trigger(idempotency_key="k-1")
    harness.client.delete(KEYS.record(first.reference_id))
    with pytest.raises(Expired) as caught:
        harness.trigger(idempotency_key="k-1")
    (listed,) = harness.dispatcher.trigger_many([a_call(idempotency_key="k-1")])
    assert isinstance(listed, Expired)
    assert caught.value.reference_id == listed.reference_id == first.reference_id


def test_idempotency_keys_are_apart_per_plugin_and_webhook_and_never_stored(harness):
    harness.register('{id: "other", url: "https://hook.example.com/x", method: "POST"}')
    harness.register(HOOKS, plugin="shop")
    places = ({}, {"webhook_id": "other"}, {"plugin": "shop"})
    assert len({harness.trigger(idempotency_key="very-visible-key", **place).reference_id for place in places}) == 3
    assert not [key for key in harness.client.scan_iter() if b"very-visible-key" in key]
    hashes = {key.rpartition(b":")[2] for key in harness.client.scan_iter("*:idem:*")}
    assert len(hashes) == 3  # nobody sees that two callers use the same key


@pytest.mark.parametrize("key", ["", "a b", "é", "x" * 256, "a\n", 5])
def test_a_malformed_idempotency_key_is_a_bad_parameter(harness, key):
    with pytest.raises(BadParameter):
        harness.trigger(idempotency_key=key)


@pytest.mark.parametrize("key", ["!", "~", "x" * 255])
def test_an_idempotency_key_is_one_to_255_visible_characters(harness, key):
    known = [harness.trigger(idempotency_key=key) for _ in range(2)]
    assert [each.verdict for each in known] == [AcceptVerdict.ACCEPTED, AcceptVerdict.KNOWN]


def test_a_webhook_that_was_changed_a_moment_ago_is_looked_up_again(harness):
    harness.trigger()  # the dispatcher now caches the webhook's revision
    changed = '{id: "order", url: "https://hook.example.com/v2", method: "POST", headers: {"X-New": null}}'
    other_process = Registry(harness.client, harness.vault, Vault.from_text(Vault.new_key_text()))
    other_process.apply("acme", read_registrations(changed, RULES, plugin="acme")[1])
    assert harness.record(harness.trigger().reference_id).revision == 2
    other_process.apply("acme", read_registrations(HOOKS, RULES, plugin="acme")[1])
    assert harness.record(harness.trigger(value={"headers": {"X-Locale": "en"}}).reference_id).revision == 3


class Restless(Lanes):
    """A broker that is asked while a group is committed; the webhook is changed then, so many times."""

    def __init__(self, times):
        super().__init__()
        self.changes, self.changed = iter(range(1, times + 1)), None

    def messages(self, lanes, partition):
        for number in self.changes:
            self.changed(HOOKS.replace("timeout: 7", f"timeout: {10 + number}"))
            break
        return super().messages(lanes, partition)


@pytest.mark.parametrize(("times", "is_accepted"), [(0, True), (3, True), (4, False)])
@pytest.mark.parametrize("is_listed", [False, True])
def test_a_webhook_that_keeps_changing_is_looked_up_four_times_and_no_more(times, is_accepted, is_listed):
    harness = Harness(Restless(times))
    harness.lanes.changed = harness.register
    if is_listed:
        (outcome,) = harness.dispatcher.trigger_many([a_call()])
    else:
        replies = SimpleQueue()
        harness.dispatcher.submit(a_call(), replies.put)
        outcome = replies.get(timeout=60)
    assert isinstance(outcome, Accepted if is_accepted else Unavailable)
    assert len(harness.waiting()) == is_accepted
    if is_accepted:
        assert harness.record(outcome.reference_id).revision == times + 1
    else:
        assert outcome.message == "The webhook's registration keeps changing: send the trigger again."
    harness.dispatcher.close()


def test_a_dispatcher_that_is_closed_leaves_no_thread():
    others = set(threading.enumerate())
    harness = Harness(Restless(1))
    harness.lanes.changed = harness.register
    harness.trigger()
    begun = set(threading.enumerate()) - others
    assert len(begun) == 2  # one commits, and one tries again
    harness.dispatcher.close()
    for thread in begun:
        thread.join(60)
    assert not any(thread.is_alive() for thread in begun)


def test_a_webhook_that_was_removed_a_moment_ago_is_not_registered(harness):
    harness.trigger()
    Registry(harness.client, harness.vault).remove("acme", "order")
    with pytest.raises(WebhookNotRegistered):
        harness.trigger()


def test_a_webhook_whose_current_revision_is_gone_is_not_registered(harness):
    assert harness.client.delete(KEYS.revision("acme", "order", 1))
    harness.registry = Registry(harness.client, harness.vault, Vault.from_text(Vault.new_key_text()))
    dispatcher = Dispatcher(harness.registry, harness.store, harness.vault, harness.subjects, harness.lanes)
    with pytest.raises(WebhookNotRegistered):
        dispatcher.trigger(a_call())


def test_when_too_much_is_pending_nothing_is_accepted():
    harness = Harness(max_pending=1)
    harness.trigger()
    with pytest.raises(OverCapacity) as raised:
        harness.trigger()
    assert raised.value.retry_after_s == 5  # until calls have ended
    assert raised.value.reference_id is None


def test_a_store_that_is_away_is_said_at_once(harness):
    harness.trigger()
    away = redis.Redis(host="127.0.0.1", port=1, retry=None)
    dispatcher = Dispatcher(
        harness.registry,
        InvocationStore(away, a_limit(), lease_margin_ms=1),
        harness.vault,
        harness.subjects,
        Lanes(),
    )
    with pytest.raises(Unavailable):
        dispatcher.trigger(a_call())
    assert [type(each) for each in dispatcher.trigger_many([a_call(), a_call()])] == [Unavailable, Unavailable]


def test_who_comes_during_a_long_commit_waits_where_there_is_no_other_partition(monkeypatch):
    monkeypatch.setattr("relay.accept.dispatcher.PATIENCE_S", -1.0)  # any commit is long
    lanes, replies = HeldUp(), SimpleQueue()
    dispatcher = Harness(lanes).dispatcher
    dispatcher.submit(a_call(), replies.put)
    assert lanes.entered.wait(60)
    dispatcher.submit(a_call(), replies.put)
    lanes.go_on.set()
    assert [type(replies.get(timeout=60)) for _ in range(2)] == [Accepted, Accepted]


def test_many_triggers_have_each_its_own_outcome_in_order(harness):
    calls = [
        a_call(),
        a_call(webhook_id="nothing"),
        a_call(idempotency_key="k"),
        a_call(value={"data": 5}),
        a_call(idempotency_key="k"),
        a_call(idempotency_key="k", value={}),
        a_call(idempotency_key="not one"),
    ]
    outcomes = harness.dispatcher.trigger_many(calls)
    kinds = [getattr(each, "verdict", None) or type(each) for each in outcomes]
    assert kinds == [
        AcceptVerdict.ACCEPTED,
        WebhookNotRegistered,
        AcceptVerdict.ACCEPTED,
        RequestRejected,
        AcceptVerdict.KNOWN,
        IdempotencyKeyReused,
        BadParameter,
    ]
    assert outcomes[4].reference_id == outcomes[2].reference_id == calls[2].reference_id


def damage_record(harness, call):
    """Make the script fail when it comes to this call."""
    harness.client.set(KEYS.record(call.reference_id), "not what belongs here")


def damage_index(harness, call):
    """Make the script fail after the records of its whole group are written."""
    harness.client.set(KEYS.webhook_index("acme", call.webhook_id), "not what belongs here")


def submit_together(harness, calls):
    replies = SimpleQueue()
    commits = harness.dispatcher._commits_of("acme")
    commits._committer = threading.current_thread()  # it starts after all of them, so that they become one group
    for number, call in enumerate(calls):
        harness.dispatcher.submit(call, lambda reply, number=number: replies.put((number, reply)))
    commits._committer = None
    commits._start()
    return [reply for _, reply in sorted((replies.get() for _ in calls), key=itemgetter(0))]


def submit_as_list(harness, calls):
    return harness.dispatcher.trigger_many(calls)


def alarms(harness):
    names = (KEYS.due_running(), KEYS.due_queued("bulk"))
    return sorted(ref.decode() for name in names for ref in harness.client.zrange(name, 0, -1))


@pytest.mark.parametrize("value", [{"data": {"a": 1}}, {"data": {"a": 1}, "delay": 60}])
@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("damage", [damage_record, damage_index])
@pytest.mark.parametrize("submit", [submit_as_list, submit_together])
def test_a_trigger_that_the_store_cannot_take_costs_no_other_of_its_group_anything(
    harness, submit, damage, place, value
):
    harness.register(HOOKS + '{id: "other", url: "https://hook.example.com/other", method: "POST"}')
    calls = [
        a_call(webhook_id="other" if number == place else "order", value=value, idempotency_key=f"k{number}")
        for number in range(3)
    ]
    good = [call.reference_id for number, call in enumerate(calls) if number != place]
    damage(harness, calls[place])
    outcomes = submit(harness, calls)
    assert [getattr(each, "verdict", None) or type(each) for each in outcomes] == [
        StoreFault if number == place else AcceptVerdict.ACCEPTED for number in range(3)
    ]
    assert harness.waiting() == ([] if "delay" in value else good)
    assert alarms(harness) == sorted(good)
    assert {ref.decode() for ref in harness.client.zrange(KEYS.webhook_index("acme", "order"), 0, -1)} == set(good)
    assert harness.client.hget(KEYS.pending(), "count") == b"2"
    assert all(harness.client.ttl(KEYS.record(ref)) == -1 for ref in good)


@pytest.mark.parametrize("submit", [submit_as_list, submit_together])
def test_a_trigger_whose_subject_cannot_be_hashed_costs_no_other_of_its_group_anything(harness, submit):
    harness.client.lpush(KEYS.subject_key("acme"), "not what belongs here")
    calls = [a_call(value={"subject": "ann"} if number == 1 else {}) for number in range(3)]
    outcomes = submit(harness, calls)
    assert [type(each) for each in outcomes] == [Accepted, StoreFault, Accepted]
    assert harness.waiting() == [calls[0].reference_id, calls[2].reference_id]


@pytest.fixture
def groups(harness, monkeypatch):
    """The number of triggers in each group that the dispatcher sends to the store."""
    sizes = []
    group_args = invocations.group_args

    def counted(news, *args, **kwargs):
        sizes.append(len(news))
        return group_args(news, *args, **kwargs)

    monkeypatch.setattr(invocations, "group_args", counted)
    return sizes


def test_a_long_list_is_accepted_in_groups_of_bounded_length(harness, groups):
    calls = [a_call() for _ in range(GROUP_ITEMS * 2 + 3)]
    accepted = harness.dispatcher.trigger_many(calls)
    assert [each.reference_id for each in accepted] == harness.waiting() == [call.reference_id for call in calls]
    assert groups == [GROUP_ITEMS, GROUP_ITEMS, 3]
    assert harness.lanes.announced == [("bulk", 0)] * 3  # for the first, and for every 128 more


def test_groups_of_a_long_list_are_bounded_by_bytes_too(harness, groups):
    calls = [a_call(value={"data": "x" * 400_000}) for _ in range(4)]
    harness.dispatcher.trigger_many([*calls, a_call(value={"data": "x" * 3_000_000}), a_call()])
    assert groups == [2, 2, 1, 1]
    groups.clear()
    assert [type(each) for each in harness.dispatcher.trigger_many([a_call(value={"data": "x" * 3_000_000})])] == [
        Accepted
    ]
    assert groups == [1]


def test_where_the_broker_is_the_store_the_script_publishes_what_it_accepts():
    harness = Harness(OneDatabase())
    calls = [a_call(), a_call(awaited=True)]
    accepted = harness.dispatcher.trigger_many(calls)
    assert [each.verdict for each in accepted] == [AcceptVerdict.ACCEPTED] * 2
    assert (harness.waiting("bulk"), harness.waiting("interactive")) == (
        [calls[0].reference_id],
        [calls[1].reference_id],
    )
    assert harness.client.lrange("bulk", 0, -1) == [b"bulk 0"]
    assert harness.client.lrange("interactive", 0, -1) == [b"interactive 0"]
    assert harness.lanes.announced == []


def test_a_group_with_a_refused_trigger_waits_without_it():
    harness = Harness(OneDatabase())
    good, bad = a_call(), a_call(value={"data": 5})
    harness.dispatcher.trigger_many([good, bad])
    assert harness.waiting() == [good.reference_id]
    assert harness.client.lrange("bulk", 0, -1) == [b"bulk 0"]


CHAIN = """{id: "step", url: "https://hook.example.com/1", method: "POST", headers: {"X-%(n)d": null}}
{id: "inner", steps: [{webhook: "step", headers: {"X-%(n)d": "'x'"}}]}
{id: "outer", description: "%(n)d", steps: [{webhook: "inner"}]}"""


@pytest.mark.parametrize("submit", [submit_as_list, submit_together])
def test_a_chain_is_accepted_for_the_revisions_that_one_document_made_current(harness, submit):
    for number in (1, 2):
        anew = Harness.__new__(Harness)  # another process
        anew.registry = Registry(harness.client, harness.vault, harness.registry._target_vault)
        anew.register(CHAIN % {"n": number})
        (accepted,) = submit(harness, [a_call(webhook_id="outer")])
        assert harness.record(accepted.reference_id).pins == f'{{"inner":{number},"step":{number}}}'


def test_a_chain_is_accepted_for_a_step_s_new_revision_although_the_chain_itself_has_not_changed(harness):
    harness.register(CHAIN % {"n": 1})
    harness.trigger(webhook_id="outer")
    other = Registry(harness.client, harness.vault, harness.registry._target_vault)
    _, (step, *_) = read_registrations((CHAIN % {"n": 1}).replace("com/1", "com/2"), RULES, plugin="acme")
    other.apply("acme", [step])
    accepted = harness.trigger(webhook_id="outer")
    assert json.loads(harness.record(accepted.reference_id).pins) == {"inner": 1, "step": 2}
