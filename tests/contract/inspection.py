"""Checks a store for what must hold after every step, on its own and compared with the model."""

from __future__ import annotations

from relay.queue import LANES
from relay.store.ledger.invocations import GRACE_MS
from relay.store.ledger.records import invocation_from
from tests.contract.clocked import PLUGIN, Clocked
from tests.contract.model import ANY, FINAL, Call, Model
from tests.store_keys import KEYS

PARKED_ALARM_MS = 15 * 60_000
RUNNING = "running"
HELD = {"queued", "retrying"}


class Inspection:
    """One reading of the whole store."""

    def __init__(self, ledger: Clocked, model: Model) -> None:
        self.model = model
        self.now = model.now
        pipeline = ledger.client.pipeline(transaction=False)
        for ref in model.calls:
            pipeline.hgetall(KEYS.record(ref))
        hooks = list(model.hooks)
        for hook in hooks:
            pipeline.zrange(KEYS.running(PLUGIN, hook), 0, -1, withscores=True)
            pipeline.zrange(KEYS.parked(PLUGIN, hook), 0, -1)
            pipeline.zrange(KEYS.open_calls(PLUGIN, hook), 0, -1, withscores=True)
            pipeline.zscore(KEYS.ages(), f"{PLUGIN}/{hook}")
        pipeline.zrange(KEYS.due_running(), 0, -1, withscores=True)
        for lane in LANES:
            pipeline.zrange(KEYS.due_queued(lane), 0, -1, withscores=True)
        pipeline.hgetall(KEYS.pending())
        pipeline.get(KEYS.plugin_pending(PLUGIN))
        pipeline.smembers(KEYS.parked_webhooks())
        replies = pipeline.execute()
        self.listed = {name.decode().partition("/")[2] for name in replies.pop()}
        count = len(model.calls)
        self.records = dict(zip(model.calls, replies[:count], strict=True))
        sets = replies[count : count + 4 * len(hooks)]
        self.running = {hook: {ref.decode(): int(end) for ref, end in sets[4 * n]} for n, hook in enumerate(hooks)}
        self.parked = {hook: {ref.decode() for ref in sets[4 * n + 1]} for n, hook in enumerate(hooks)}
        self.open = {hook: {ref.decode(): int(by) for ref, by in sets[4 * n + 2]} for n, hook in enumerate(hooks)}
        self.ages = {hook: sets[4 * n + 3] for n, hook in enumerate(hooks)}
        *due, self.pending, self.plugin_pending = replies[count + 4 * len(hooks) :]
        self.alarms: dict[str, list[tuple[str, int]]] = {}
        for clock, rows in zip((RUNNING, *LANES), due, strict=True):
            for ref, at in rows:
                self.alarms.setdefault(ref.decode(), []).append((clock, int(at)))

    def check(self) -> None:
        """Raise AssertionError for the first fault found."""
        for ref, call in self.model.calls.items():
            self._check_record(ref, call)
            self._check_alarm(ref, call)
        for hook in self.model.hooks:
            self._check_sets(hook)
            self._check_wake_up(hook)
        assert set(self.alarms) <= set(self.model.calls)
        unfinished = [call for call in self.model.calls.values() if call.state not in FINAL]
        size = sum(call.request_bytes for call in unfinished)
        assert int(self.pending.get(b"count", 0)) == len(unfinished) == int(self.plugin_pending or 0)
        assert int(self.pending.get(b"bytes", 0)) == size

    def _check_record(self, ref: str, call: Call) -> None:
        fields = self.records[ref]
        record = invocation_from(ref, KEYS.record(ref), fields)
        told = {
            "state": record.state,
            "token": ANY if call.token == ANY else fields.get(b"token", b"").decode(),
            "last_token": fields.get(b"lastToken", b"").decode(),
            "losses": record.losses,
            "outcomes": [attempt.outcome for attempt in record.attempts],
            "parked": fields.get(b"parked") == b"1",
            "lease_end": int(fields[b"leaseEnd"]) if call.state == "sending" else None,
            "not_before": record.not_before_ms if call.not_before > self.now else None,
            "finished": record.finished_at_ms is not None,
        }
        expected = {
            "state": call.state,
            "token": call.token,
            "last_token": call.last_token,
            "losses": call.losses,
            "outcomes": call.outcomes,
            "parked": call.parked,
            "lease_end": call.lease_end if call.state == "sending" else None,
            "not_before": call.not_before if call.not_before > self.now and call.state in HELD else None,
            "finished": call.state in FINAL,
        }
        assert told == expected, f"{ref} of {call.hook}"

    def _check_alarm(self, ref: str, call: Call) -> None:
        alarms = self.alarms.get(ref, [])
        if call.state in FINAL:
            assert alarms == [], f"{ref} is final and has an alarm"
            return
        assert len(alarms) == 1, f"{ref} has {len(alarms)} alarms"
        clock, at = alarms[0]
        holds_until = call.lease_end if call.state == "sending" else call.not_before
        if holds_until > self.now:
            assert (clock, at) == (RUNNING, holds_until), f"{ref} has an alarm at {at - self.now}"
        elif call.parked:
            assert at <= self.now + PARKED_ALARM_MS
        else:
            assert at <= self.now + GRACE_MS, f"{ref} is looked at in {at - self.now} ms only"

    def _check_sets(self, hook: str) -> None:
        of_hook = {ref: call for ref, call in self.model.calls.items() if call.hook == hook}
        sending = {ref: call.lease_end for ref, call in of_hook.items() if call.state == "sending"}
        assert self.running[hook] == sending, f"places of {hook}"
        assert self.parked[hook] == {ref for ref, call in of_hook.items() if call.parked}, f"parked of {hook}"
        unfinished = {ref: call for ref, call in of_hook.items() if call.state not in FINAL}
        assert self.open[hook].keys() == unfinished.keys(), f"open calls of {hook}"
        for ref, by in self.open[hook].items():
            limit = max(unfinished[ref].ends_by, unfinished[ref].lease_end + 2 * GRACE_MS)
            assert unfinished[ref].ends_by <= by <= limit, f"{ref} is to end in {by - self.now} ms"
        if unfinished:
            assert int(self.ages[hook]) <= min(self.open[hook].values()), f"calls of {hook} get too old"

    def _check_wake_up(self, name: str) -> None:
        """Check that the next parked call, if there is one, will be woken: soon, if the webhook may send."""
        hook, calls = self.model.hooks[name], self.model.of(name)
        lost = any(call.state == "sending" and call.lease_end <= self.now for call in calls)
        if not self.parked[name] or hook.paused or lost:  # a lost call's claim wakes; its own alarm is checked above
            return
        soonest = min(self.alarms[ref][0][1] for ref in self.parked[name]) - self.now
        capacity, busy = self.model.capacity(name), self.model.live(name) > 0
        assert name in self.listed, f"nobody finds the parked calls of {name}"
        if capacity >= 1 and not hook.offered and (not busy or not hook.shared):
            assert soonest <= GRACE_MS, f"{name} may send, and its parked calls are woken in {soonest} ms only"
        if capacity < 1 <= self.model.places(name):
            limit = max(GRACE_MS, hook.every_ms)
            assert soonest <= limit, f"{name} may send by its rate soon, and is woken in {soonest} ms only"
