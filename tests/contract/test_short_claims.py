"""The fast path of the claim script, which nearly every call takes: it is taken, with the result of the slow path."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from relay.store.ledger.acceptance import NewInvocation
from relay.store.scripting.library import library
from tests.contract import clocked
from tests.contract.clocked import PLUGIN, START_MS, Clocked
from tests.contract.ledger import LIMITS
from tests.contract.snapshots import everything
from tests.contract.store_and_model import reference_id
from tests.store_keys import KEYS

SHORT = ("local verdict, state, more = claim_plain(run, ref, wanted, was_full)", "local verdict, state, more")
LONG = ("local r = admission.read(run, ref)\n", "do return 'skipped', 'gone' end\n  local r = nil\n")
NOTHING = ("", "")
EARLIER, LATER = START_MS - 1, START_MS + 1
RUNNING, OVER, JOB, PAUSED_JOB, TOKEN = *(reference_id(number) for number in range(4)), "token"
_CHAIN = {"chain": "1", "pins": "{}", "step": "-1", "open": "0", "deadline": START_MS + 60_000}
_TRIED = {"attempts": '[1,2,0,"connect_failed","no"]'}

#: Fields that a call's record may have besides those that accepting it writes.
RECORDS = {
    "as it came": {},
    "parked": {"parked": "1"},
    "parked by this claim": {"parked": "1", "parker": TOKEN},
    "tried before": _TRIED,
    "retrying": _TRIED | {"state": "retrying", "notBefore": START_MS},
    "retrying later": _TRIED | {"state": "retrying", "notBefore": LATER},
    "held back": {"state": "retrying", "notBefore": START_MS, "held": "1"},
    "due a moment ago": {"notBefore": EARLIER},
    "due now": {"notBefore": START_MS},
    "due in a moment": {"notBefore": LATER},
    "of a replay": {"replay": JOB},
    "of a paused replay": {"replay": PAUSED_JOB},
    "parked by its job": {"parked": "job", "replay": PAUSED_JOB},
    "parked by its job before": {"parked": "job", "replay": JOB},
    "a chain": _CHAIN,
    "a chain out of time": _CHAIN | {"deadline": START_MS},
    "a step": {"parent": RUNNING, "root": RUNNING},
    "a step of what is over": {"parent": OVER, "root": OVER},
    "a step two below what is over": {"parent": RUNNING, "root": OVER},
    "old": {"endBy": START_MS},
    "nearly old": {"endBy": LATER},
    "being sent": {"state": "sending", "token": "theirs", "leaseEnd": LATER},
    "lost": {"state": "sending", "token": "theirs", "leaseEnd": EARLIER},
    "lost, to be tried again": {"state": "sending", "token": "theirs", "leaseEnd": EARLIER, "repeatable": "1"},
    "granted before": {"state": "sending", "token": TOKEN, "leaseEnd": LATER},
    "ended": {"state": "delivered", "token": "theirs"},
    "ended by this claim": {"state": "unreachable", "token": TOKEN, "outcome": "expired"},
}
_OPEN = {"failures": 20, "openFor": 30_000}
#: The states of its webhook.
WEBHOOKS = {
    "free": {"concurrency": ""},
    "with two places": {"concurrency": 2},
    "with one place": {"concurrency": 1},
    "under a rate": {"rateCount": 1, "ratePeriod": 60_000},
    "under a rate that is used up": {"rateCount": 1, "ratePeriod": 60_000, "tat": START_MS},
    "paused": {"paused": "1"},
    "with an open breaker": _OPEN | {"openUntil": LATER},
    "with an open breaker, and tried again": _OPEN | {"openUntil": LATER, "retry": "1"},
    "with a breaker half open": _OPEN | {"openUntil": EARLIER},
    "removed": {"removed": 1},
}
WAYS = ["to send", "read as full", "to park"]
#: Each is a record, a webhook, whether another call of that webhook is running, and in which list the claim names it.
CASES = list(itertools.product(RECORDS, WEBHOOKS, [False, True], WAYS))
PARKED = {"parked", "parked by this claim"}
UNTRIED = PARKED | {"as it came", "due a moment ago", "due now", "a step", "nearly old"}


def takes_the_short_way(record, webhook, beside, way):
    """Return whether a case takes it: the call is sent because there is room, or parked for another call to wake it."""
    if record not in UNTRIED or (webhook == "removed" and record != "a step"):  # a chain that has begun goes on
        return False
    is_full = webhook in {"paused", "under a rate that is used up"} or (webhook == "with one place" and beside)
    if way == "to send":
        return not is_full and "open breaker" not in webhook
    is_woken = beside and (way == "to park" or is_full)
    return is_woken and record not in PARKED and "rate" not in webhook


@pytest.fixture
def site(valkey, monkeypatch):
    limits = replace(LIMITS, max_pending=len(CASES), max_pending_per_plugin=len(CASES))
    monkeypatch.setattr(clocked, "LIMITS", limits)
    with valkey.client() as client:
        yield Site(client)


class Site:
    """A store with a call and a webhook for each case, and a claim script without one of its two paths."""

    def __init__(self, client):
        self.client, self.lacking = client, NOTHING
        self.ledger = Clocked(client)
        load = client.function_load
        client.function_load = lambda text: load(text.replace(*self.lacking))

    def prepare(self, cases, lacking):
        assert lacking[0] in library().text
        self.client.flushall()
        self.client.function_flush()
        self.ledger.set_ms(START_MS)
        self.lacking, self.refs = lacking, {case: reference_id(10 + number) for number, case in enumerate(cases)}
        hooks = {case: f"hook{number}" for number, case in enumerate(cases)}
        self.client.hset(KEYS.webhooks(PLUGIN), mapping=dict.fromkeys(hooks.values(), 1))
        accepted, _ = self.ledger.store.accept(
            [
                NewInvocation(ref, PLUGIN, hooks[case], 1, "bulk", 20_000, payload=b"sealed", request_bytes=6)
                for case, ref in self.refs.items()
            ],
            (),
        )
        assert {each.verdict for each in accepted} == {"accepted"}
        writes = self.client.pipeline(transaction=False)
        for ref, state in ((RUNNING, "waiting"), (OVER, "cancelled")):
            writes.hset(KEYS.record(ref), "state", state)
        for job, state in ((JOB, "running"), (PAUSED_JOB, "paused")):
            writes.hset(KEYS.replay(job), "state", state)
        for case, ref in self.refs.items():
            self._write(writes, case, ref, hooks[case])
        writes.execute()

    def _write(self, writes, case, ref, hook):
        record, webhook, beside, _ = case
        fields = RECORDS[record]
        writes.hset(KEYS.policy(PLUGIN, hook), mapping=WEBHOOKS[webhook])
        writes.hset(KEYS.record(ref), mapping={"root": ref, **fields} if "chain" in fields else fields or {"a": ""})
        if fields.get("parked") == "1":
            writes.zadd(KEYS.parked(PLUGIN, hook), {ref: START_MS})
        if "leaseEnd" in fields:
            writes.zadd(KEYS.running(PLUGIN, hook), {ref: fields["leaseEnd"]})
        if beside:
            writes.zadd(KEYS.running(PLUGIN, hook), {"another": LATER})

    def claim(self):
        """Claim all calls; return the reply, and the store afterwards."""
        refs, full, park = ([ref for (*_, way), ref in self.refs.items() if way == each] for each in WAYS)
        claimed = self.ledger.store.claim(refs, TOKEN, full=full, park=park)
        store = everything(self.client)
        records = {case: _without_nothing(store.pop(KEYS.record(ref).encode())) for case, ref in self.refs.items()}
        return claimed, dict(claimed.waited_ms), dict(claimed.ended), records, store


def _without_nothing(fields):
    """Return the fields of a record, without those whose value means the same as a missing field."""
    named = dict(zip(fields[::2], fields[1::2], strict=True))
    if int(named.get(b"notBefore") or 0) <= START_MS:
        named.pop(b"notBefore", None)
    return {name: value for name, value in named.items() if value not in {b"", b"0"}}


def test_whatever_is_claimed_the_short_way_comes_to_what_it_comes_to_the_long_way(site):
    site.prepare(CASES, NOTHING)
    as_it_is = site.claim()
    site.prepare(CASES, SHORT)
    the_long_way = site.claim()
    for one, other in zip(as_it_is, the_long_way, strict=True):
        assert one == other


def test_of_calls_that_were_never_tried_those_take_the_short_way_that_may_go_or_have_to_wait(site):
    site.prepare(CASES, LONG)
    claimed, *_ = site.claim()
    assert {case for case, ref in site.refs.items() if ref in claimed.granted | claimed.parked} == {
        case for case in CASES if takes_the_short_way(*case)
    }
