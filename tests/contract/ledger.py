"""A ledger on the server that a test uses, with short ways to bring it into a state."""

from __future__ import annotations

import itertools

from relay.domain.invocation import Attempt, Outcome, Sent, State
from relay.domain.reference_id import new_reference_id
from relay.store.decisions.every import EveryDecision
from relay.store.ledger.acceptance import NewInvocation
from relay.store.ledger.invocations import InvocationStore
from relay.store.ledger.limits import Limits
from relay.store.ledger.listing import Listing
from relay.store.ledger.policies import Policies
from relay.store.ledger.transitions import ChainEnd, NextStep, Settlement
from relay.vault import Vault
from tests.store_keys import KEYS

DAY_MS = 24 * 3600 * 1000
LIMITS = Limits(
    max_pending=1000,
    max_pending_per_plugin=500,
    max_pending_bytes=1 << 20,
    retention_ms=30 * DAY_MS,
    failed_retention_ms=90 * DAY_MS,
    rejected_retention_ms=30 * DAY_MS,
    max_age_ms=DAY_MS,
)
_tokens = itertools.count()


def ids(ready):
    """Return the reference ids of calls that are ready, without their lanes."""
    return [ref for ref, _ in ready]


def verdict_on(claimed, ref):
    """Return what a claim or an advance said about a call."""
    if ref in claimed.granted:
        return "granted"
    return "parked" if ref in claimed.parked else "ended" if ref in claimed.ended else "skipped"


class Ledger:
    """The store with one registered webhook ``hook`` of plugin ``acme``, whose revision is 1."""

    def __init__(self, client, limits=LIMITS, lease_margin_ms=10_000):
        self.client = client
        self.store = InvocationStore(client, limits, lease_margin_ms=lease_margin_ms)
        self.listing = Listing(client)
        self.policies = Policies(client, self.store, EveryDecision(client, Vault.from_text(Vault.new_key_text())))
        client.hset(KEYS.webhooks("acme"), "hook", 1)

    def new(self, **changes):
        fields = {
            "reference_id": new_reference_id(),
            "plugin": "acme",
            "webhook_id": "hook",
            "revision": 1,
            "lane": "bulk",
            "timeout_ms": 20_000,
            "payload": b"\x01sealed",
            "request_bytes": 100,
            "caller": "k1",
        }
        return NewInvocation(**(fields | changes))

    def accept(self, news):
        """Accept a group of triggers, without publishing messages; return the store's answer to each."""
        return self.store.accept(news, ())[0]

    def accepted(self, **changes):
        (answer,) = self.accept([self.new(**changes)])
        return answer.reference_id

    def accepted_many(self, count, **changes):
        """Accept ``count`` calls; return their reference ids, oldest first."""
        return [answer.reference_id for answer in self.accept([self.new(**changes) for _ in range(count)])]

    def limit(self, **limits):
        """Set limits of the webhook, as its registration would."""
        self.client.hset(KEYS.policy("acme", "hook"), mapping=limits)

    def token(self):
        return f"token{next(_tokens)}"  # never one that a test chooses itself

    def claimed(self, **changes):
        """Accept and claim a call; return its reference id and token."""
        ref, token = self.accepted(**changes), self.token()
        assert self.store.claim([ref], token).granted == {ref}
        return ref, token

    def next_step(self, ref, *news, step=0, token=None, **more):
        """Return the next step of a chain, decided on the calls that its steps have made by now."""
        made = self.client.llen(KEYS.steps(ref))
        return NextStep(ref, token or self.token(), made, step, news, **more)

    def advance(self, ref, *news, **more):
        """Have a chain make these calls of its next step; return the store's answer."""
        return self.store.advance([self.next_step(ref, *news, **more)])

    def end_chain(self, ref, **changes):
        """End a chain whose steps have ended; return the store's answer."""
        end = ChainEnd(self.client.llen(KEYS.steps(ref)), self.settlement(ref, self.token(), attempt=None, **changes))
        return self.store.advance([end])

    def lose_lease(self, ref):
        """Make the call's lease end in the past."""
        self.client.hset(KEYS.record(ref), "leaseEnd", 1)
        self.client.zadd(KEYS.due_running(), {ref: 1})

    def look_at_ages(self):
        """Make the next `expire` look at every call that is not final."""
        for key in self.client.keys("relay:{0}:p:*:open:*"):
            *_, plugin, _, webhook = key.decode().split(":")
            self.client.zadd(key, dict.fromkeys(self.client.zrange(key, 0, -1), 1))
            self.client.zadd(KEYS.ages(), {f"{plugin}/{webhook}": 1})

    def grow_old(self, ref):
        """Make the call's time be over, then end all calls whose time is over."""
        self.client.hset(KEYS.record(ref), "endBy", 1)
        self.look_at_ages()
        return self.store.expire(limit=100)

    def ring(self, ref):
        """Make the alarm of a queued call ring now."""
        self.client.zadd(KEYS.due_queued("bulk"), {ref: 1})

    def settlement(self, ref, token, **changes):
        fields = {
            "state": State.DELIVERED,
            "outcome": Outcome.ANSWERED,
            "status": 200,
            "error": False,
            "attempt": Attempt(1, 1_000, 5, 200, Outcome.ANSWERED, Sent.ANSWERED),
            "response_bytes": 7,
            "result": b"\x00sealed\xff",
        }
        return Settlement(ref, token, **(fields | changes))

    def failure(self, ref, token, **changes):
        """Return a settlement of a call whose endpoint was not reached."""
        fields = {
            "state": State.UNREACHABLE,
            "outcome": Outcome.CONNECT_FAILED,
            "status": 0,
            "error": True,
            "attempt": Attempt(1, 1, 5, 0, Outcome.CONNECT_FAILED, Sent.NO),
            "result": b"",
            "contacted": False,
        }
        return self.settlement(ref, token, **(fields | changes))

    def state(self, ref):
        return self.store.find(ref).state

    def time_ms(self, ref, name):
        """Return a time in a call's record, in milliseconds, as the scripts read it."""
        return int(self.client.hget(KEYS.record(ref), name))

    def alarms(self, ref):
        """Return which of the two alarm sets, "running" and "queued", contain the call."""
        names = {"running": KEYS.due_running(), "queued": KEYS.due_queued("bulk")}
        return {name for name, key in names.items() if self.client.zscore(key, ref) is not None}

    def everything(self):
        """Return the whole store as plain values, to check whether a script changed anything."""
        readers = {
            b"hash": self.client.hgetall,
            b"string": self.client.get,
            b"zset": lambda key: self.client.zrange(key, 0, -1, withscores=True),
            b"set": self.client.smembers,
            b"list": lambda key: self.client.lrange(key, 0, -1),
        }
        return {key: readers[self.client.type(key)](key) for key in self.client.keys("*")}
