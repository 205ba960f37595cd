"""An independent model of the ledger in plain Python: what each transition must do, without alarms and keys.

Times are in milliseconds. A waiting call is either parked or has an alarm soon. The model knows which of the two;
`tests.contract.inspection` checks the alarms themselves.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from fractions import Fraction

BREAKER_FAILURES = 20
BREAKER_FIRST_MS = 30_000
BREAKER_LONGEST_MS = 300_000
MAX_LOSSES = 3
GRACE_MS = 5_000
UNNOTICED_MS = 1_000
ANY = "*"
FINAL = {"delivered", "unreachable", "interrupted", "rejected", "cancelled"}


@dataclass
class Hook:
    """A webhook: its registered limits, and the state of its breaker and rate."""

    repeatable: bool = False
    concurrency: int | None = None
    every_ms: int | None = None  # between calls, by its rate
    retry: bool = False
    paused: bool = False
    failures: int = 0
    open_until: int = 0
    open_for: int = 0
    probe: int = 0
    prober: str = ""  # the reference id of the call that is the breaker's probe
    max_age: int = 24 * 3600 * 1000
    bucket: Fraction = Fraction(0)
    bucket_at: int = 0
    shared: bool = False  # whether one of its calls was ever parked because its share of a process was used up
    offered: bool = False  # whether a worker ever stated its room; other workers then have to look for parked calls

    @property
    def burst(self) -> int:
        return max(1, 1000 // self.every_ms)

    def tokens(self, now: int) -> int:
        """Return the whole tokens of a bucket that fills at the webhook's rate and holds one second's worth."""
        return int(self.level(now))

    def level(self, now: int) -> Fraction:
        """Return what the bucket holds; a clock that went back would have emptied it, and more: then it is full."""
        level = min(Fraction(self.burst), self.bucket + Fraction(now - self.bucket_at, self.every_ms))
        return Fraction(self.burst) if level * self.every_ms < -UNNOTICED_MS else level

    def spend(self, now: int) -> None:
        self.bucket, self.bucket_at = self.level(now) - 1, now

    def opens(self, now: int) -> int:
        """Return until when the breaker is open: no longer from now on than when it opened."""
        return now if self.open_until > now + self.open_for + UNNOTICED_MS else self.open_until

    def breaker(self, now: int) -> str:
        if self.open_until == 0:
            return "closed"
        return "open" if max(self.opens(now), self.probe) > now else "half-open"


@dataclass
class Call:
    """An invocation. Its token is `ANY` if it ended by its age."""

    hook: str
    timeout: int
    request_bytes: int
    state: str = "queued"
    token: str = ""
    last_token: str = ""
    lease_end: int = 0
    not_before: int = 0
    pause: int = 0  # from when `not_before` was decided until then
    ends_by: int = 0
    losses: int = 0
    outcomes: list[str] = field(default_factory=list)
    parked: bool = False
    held: bool = False  # held back by an open breaker


class Model:
    """All calls and webhooks at the time ``now``. Methods mirror the store's, and return the answer it should give."""

    def __init__(self, hooks: dict[str, Hook], now: int, margin: int) -> None:
        self.hooks = copy.deepcopy(hooks)
        self.now = now
        self.margin = margin
        self.calls: dict[str, Call] = {}
        self.keys: dict[tuple[str, str], tuple[str, str]] = {}  # (hook, key) -> (reference id, fingerprint)
        self.late = 0
        self.swept = 0  # when the last sweep was
        for hook in self.hooks.values():
            hook.bucket_at = now
            hook.bucket = Fraction(hook.burst if hook.every_ms else 0)

    # -- transitions --------------------------------------------------------------------------------------------

    def accept(self, ref: str, call: Call, key: tuple[str, str] | None) -> tuple[str, str, str]:
        if ref in self.calls:
            return "accepted", ref, self.calls[ref].state
        if key:
            used = self.keys.get((call.hook, key[0]))
            if used:
                return ("known" if used[1] == key[1] else "key_reused"), used[0], self.calls[used[0]].state
            self.keys[call.hook, key[0]] = (ref, key[1])
        self.calls[ref] = call
        call.pause = call.not_before
        call.not_before = call.not_before and self.now + call.pause
        call.ends_by = max(self.now, call.not_before) + self.hooks[call.hook].max_age
        return "accepted", ref, "queued"

    def claim(self, ref: str, token: str, *, wanted: bool) -> str:
        call = self.calls.get(ref)
        if call is None or call.state in FINAL:
            return "skipped"
        if call.state == "sending":
            if call.token == token:
                return "granted"
            return "skipped" if call.lease_end > self.now else self._lose(ref, call, token)
        if call.ends_by <= self.now:
            self._age(call, token)
            return "ended"
        return "skipped" if call.not_before > self.now else self._take(ref, call, token, wanted=wanted)

    def settle(self, ref: str, token: str, state: str, outcome: str, delay: int, contacted: bool | None) -> bool:
        call = self.calls[ref]
        if call.last_token == token or (call.state in FINAL and call.token == token):
            return True
        if call.state != "sending" or call.token != token:
            return False
        call.outcomes.append(outcome)
        if contacted is not None:
            self._hear(self.hooks[call.hook], contacted=contacted)
        self._give_up_probe(ref)
        if state == "retrying" and call.ends_by <= self.now:
            self._age(call, token)
        elif state == "retrying":
            self._leave(call, token)
            call.state, call.not_before, call.pause, call.losses = "retrying", self.now + delay, delay, 0
        else:
            self._finish(call, state, token)
        return True

    def release(self, ref: str, token: str) -> None:
        call = self.calls[ref]
        if call.state == "sending" and call.token == token:
            self._leave(call, token)
            call.state = "queued"
            self._give_up_probe(ref)

    def cancel(self, ref: str) -> str | None:
        call = self.calls[ref]
        if call.state in {"queued", "retrying"}:
            self._finish(call, "cancelled")
        return None if call.state == "cancelled" else call.state

    def expire(self) -> None:
        """End every call whose time is over, except those being sent and those whose lease ended only just now."""
        for ref, call in self.calls.items():
            if call.state in FINAL or call.ends_by > self.now:
                continue
            if call.state != "sending":
                self._age(call, ANY)
            elif call.lease_end + 2 * GRACE_MS <= self.now:
                self._lose(ref, call, ANY)

    def sweep(self) -> None:
        """If the clock has gone back since the last sweep, hold each call no longer from now on than was meant."""
        if self.swept > self.now + UNNOTICED_MS:
            for ref, call in self.calls.items():
                if call.state == "sending":
                    self._shorten_lease(ref, call)
                elif call.not_before > self.now + GRACE_MS:
                    call.not_before = min(call.not_before, self.now + call.pause)
        self.swept = self.now

    # -- what a webhook's limits allow --------------------------------------------------------------------------

    def of(self, hook: str) -> list[Call]:
        return [call for call in self.calls.values() if call.hook == hook]

    def live(self, hook: str) -> int:
        """Return how many of the webhook's calls hold a place."""
        return sum(call.state == "sending" and call.lease_end > self.now for call in self.of(hook))

    def places(self, name: str) -> float:
        cap = self.hooks[name].concurrency
        return float("inf") if cap is None else max(0, cap - self.live(name))

    def capacity(self, name: str) -> float:
        hook = self.hooks[name]
        if hook.paused:
            return 0
        return min(self.places(name), float("inf") if hook.every_ms is None else hook.tokens(self.now))

    def close_breaker(self, name: str) -> None:
        hook = self.hooks[name]
        hook.failures = hook.open_until = hook.open_for = hook.probe = 0
        hook.prober = ""
        for call in self.of(name):
            if call.state == "retrying" and call.held and not hook.paused:
                call.not_before, call.held = self.now, False

    # -- the parts of a transition ------------------------------------------------------------------------------

    def _take(self, ref: str, call: Call, token: str, *, wanted: bool) -> str:
        if wanted:
            return self._admit(ref, call, token)
        call.parked = True
        self.hooks[call.hook].shared = True
        return "parked"

    def _shorten_lease(self, ref: str, call: Call) -> None:
        lease_end = self.now + call.timeout + self.margin
        if call.lease_end <= max(lease_end, self.now + GRACE_MS):
            return
        call.lease_end = lease_end
        if self.hooks[call.hook].prober == ref:
            self.hooks[call.hook].probe = lease_end

    def _age(self, call: Call, token: str) -> None:
        call.outcomes.append("expired")
        self._finish(call, "unreachable", token)

    def _lose(self, ref: str, call: Call, token: str) -> str:
        call.outcomes.append("lease_lost")
        call.losses += 1
        self._give_up_probe(ref, lost=True)
        if not self.hooks[call.hook].repeatable or call.losses >= MAX_LOSSES:
            self._finish(call, "interrupted", token)
        elif call.ends_by <= self.now:
            self._age(call, token)
        else:
            return self._admit(ref, call, token)
        return "ended"

    def _admit(self, ref: str, call: Call, token: str) -> str:
        hook = self.hooks[call.hook]
        if hook.breaker(self.now) == "open":
            return self._stop(call, hook, token)
        if self.capacity(call.hook) < 1:
            if call.state == "sending":
                call.state, call.token = "queued", ""
            call.parked = True
            return "parked"
        call.state, call.token, call.parked, call.held = "sending", token, False, False
        call.lease_end = self.now + call.timeout + self.margin
        if hook.every_ms:
            hook.spend(self.now)
        if hook.breaker(self.now) == "half-open":
            hook.probe, hook.prober = call.lease_end, ref
        return "granted"

    def _stop(self, call: Call, hook: Hook, token: str) -> str:
        if hook.retry:
            until = hook.open_until if hook.opens(self.now) > self.now else min(hook.probe, self.now + 5000)
            call.state, call.token, call.not_before, call.parked = "retrying", "", until, False
            call.pause = until - self.now
            call.held = True
            return "skipped"
        call.outcomes.append("breaker_open")
        self._finish(call, "unreachable", token)
        return "ended"

    def _give_up_probe(self, ref: str, *, lost: bool = False) -> None:
        """Let the next call probe the endpoint, if this one did but heard nothing; a lost probe has ended already."""
        for hook in self.hooks.values():
            if hook.prober == ref and not lost:
                hook.probe, hook.prober = 0, ""

    def _leave(self, call: Call, token: str) -> None:
        call.token, call.last_token = "", token

    def _finish(self, call: Call, state: str, token: str = "") -> None:
        call.state, call.token, call.parked = state, token, False

    def _hear(self, hook: Hook, *, contacted: bool) -> None:
        if contacted:
            hook.failures = hook.open_until = hook.open_for = hook.probe = 0
            hook.prober = ""
            return
        probing = hook.open_until > 0 and hook.opens(self.now) <= self.now
        hook.failures += 1
        if probing or (hook.open_until == 0 and hook.failures >= BREAKER_FAILURES):
            hook.open_for = min(hook.open_for * 2, BREAKER_LONGEST_MS) or BREAKER_FIRST_MS
            hook.open_until, hook.probe, hook.prober = self.now + hook.open_for, 0, ""
