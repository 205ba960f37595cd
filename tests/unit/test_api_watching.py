"""How an API process watches the chains: each in a thread of its own, with what other processes tell it."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from api import watching
from api.watching import start_watching
from relay.errors import Unavailable
from relay.process.loops import Over
from tests.timing import START_S

HEAD = object()


class Chain:
    """A chain that is looked at until ``over``."""

    def __init__(self, over, error=None):
        self.looks, self.heard, self._over, self._error = threading.Semaphore(0), [], over, error

    def look(self):
        self.looks.release()
        if self._over.is_set():
            raise Over
        if self._error is not None:
            raise self._error

    def hear(self, head):
        self.heard.append(head)


@pytest.fixture
def over():
    return threading.Event()


def test_each_chain_is_looked_at_time_and_again_also_while_another_is_away_and_hears_of_others(monkeypatch, over):
    chains = [Chain(over), Chain(over, Unavailable()), Chain(over)]
    heard, pauses = threading.Event(), []

    def listen():
        yield None
        yield HEAD
        heard.set()
        over.wait()
        raise Over

    def sleep(pause_s):
        pauses.append(pause_s)
        over.wait(0.001)

    monkeypatch.setattr(watching, "time", SimpleNamespace(sleep=sleep))
    before = set(threading.enumerate())
    start_watching(chains, SimpleNamespace(listen=listen))
    threads = set(threading.enumerate()) - before
    try:
        assert all(chain.looks.acquire(timeout=START_S) for chain in chains for _ in range(3))
        assert heard.wait(START_S)
    finally:
        over.set()
        for thread in threads:
            thread.join(START_S)
    assert [chain.heard for chain in chains] == [[HEAD]] * 3
    assert set(pauses) == {1.0, 0.5}  # after a look, and after one that failed
