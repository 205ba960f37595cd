"""Channels to which a process listens: one that says nothing is asked whether it is still there, and then left."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import redis

from relay.store.decisions import heads as heads_module
from relay.store.decisions.heads import Heads
from relay.store.ledger import notices as notices_module
from relay.store.ledger.notices import Subscription
from relay.vault import Vault


class Channel:
    """A server's side of a channel, at a time that passes only where somebody waits; ``log`` has what it was asked."""

    def __init__(self, *, told_at_s, silent_from_s):
        self.now_s, self.log = 0.0, []
        self._told_at_s, self._silent_from_s = told_at_s, silent_from_s
        self._answers = deque()

    def ask(self, what):
        self.log.append((self.now_s, what))
        if self.now_s < self._silent_from_s:
            self._answers.append({"type": what, "data": b"garbage"})

    def subscribe(self, _):
        self.ask("subscribe")

    def ping(self):
        self.ask("pong")

    def get_message(self, timeout):
        if self._answers:
            return self._answers.popleft()
        self.now_s += timeout
        return {"type": "message", "data": b"garbage"} if self.now_s == self._told_at_s else None


def hear_notices(client, channel):
    stop = threading.Event()

    def renew():
        channel.log.append((channel.now_s, "renewed"))
        if channel.log[-2][1] == "pong":
            stop.set()

    Subscription(client, "api1").run(lambda _: None, renew, stop)


def hear_heads(client, _):
    assert set(Heads(client, Vault.from_text(Vault.new_key_text())).listen()) == {None}


@pytest.mark.parametrize(
    ("hear", "module", "renewed"),
    [
        (hear_notices, notices_module, [(0.0, "renewed"), (3.0, "renewed"), (18.0, "renewed")]),
        (hear_heads, heads_module, []),
    ],
)
def test_a_channel_is_asked_once_after_each_silence_and_left_if_it_does_not_answer(monkeypatch, hear, module, renewed):
    channel = Channel(told_at_s=3.0, silent_from_s=10.0)
    client = redis.Redis(port=1)
    monkeypatch.setattr(client, "pubsub", lambda **_: nullcontext(channel))
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: channel.now_s))
    hear(client, channel)
    assert channel.now_s == 18.0
    asked = [(0.0, "subscribe"), (8.0, "pong"), (13.0, "pong")]
    assert sorted(channel.log) == sorted([*asked, *renewed])
