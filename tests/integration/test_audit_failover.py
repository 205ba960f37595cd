"""The audit trail of a primary whose replica takes over: what was signed is there, and what is wrong is called by its name."""

from __future__ import annotations

import json

import pytest
import redis

from relay.audit.lines import heads_in
from relay.errors import Unavailable
from relay.store.keys import keyspace
from relay.store.server.replicas import require_replicas
from relay.store.trail.trail import Trail
from tests.contract.test_audit_trail import add, check, exported, free_lock, signing
from tests.integration.test_confirmed import Pair
from tests.timing import ANSWER_S

ENTRIES, HEAD = keyspace.audit("entries"), keyspace.audit("head")


@pytest.fixture
def pair(tmp_path):
    pair = Pair(tmp_path)
    yield pair
    pair.stop()


class Site:
    """A worker and the server that it asks: after a failover, the other one."""

    def __init__(self, pair, count):
        self.pair = pair
        self.clients = []
        self.ask(pair.primary.port, count)
        self.worker = signing(self.trail)

    def ask(self, port, count):
        self.client = redis.Redis(port=port, socket_timeout=ANSWER_S)
        self.clients.append(self.client)
        require_replicas(self.client, count)
        self.trail = Trail(self.client)

    def fail_over(self):
        self.pair.fail_over()
        self.ask(self.pair.replica.port, 0)  # it has no replica of its own
        self.worker._trail = self.trail

    def iterate(self):
        free_lock(self.client)
        self.worker.iterate()


@pytest.fixture
def at(pair):
    sites = []

    def make(count):
        sites.append(Site(pair, count))
        return sites[-1]

    yield make
    for client in (client for site in sites for client in site.clients):
        client.close()


def test_an_entry_that_no_replica_has_is_not_signed_and_after_a_failover_the_trail_is_good(at, pair):
    site = at(1)
    add(site.trail, 2)
    site.iterate()
    pair.cut_off()
    add(site.trail, 1, 2)  # a look-up, say: nobody waits for the replicas
    for _ in range(2):
        with pytest.raises(Unavailable):
            site.iterate()
    assert (check(site.trail).last, check(site.trail).unsigned) == (2, 1)
    before = exported(site.trail)
    site.fail_over()
    site.iterate()
    add(site.trail, 2, 3)
    site.iterate()
    found = check(site.trail, heads_in(before)["0"])
    assert (found.wrong, found.last, found.unsigned) == (None, 4, 0)


@pytest.mark.parametrize("archives", [False, True])
def test_a_server_that_took_over_while_entries_were_read_signs_none_that_it_lacks(at, pair, archives, monkeypatch):
    site = at(0)  # as with replicas that confirm: what was read may come from the server before
    add(site.trail, 2)
    site.iterate()
    pair.join()
    pair.cut_off()
    add(site.trail, 1, 2)
    method = "archive" if archives else "sign"

    def fail_over_first(*args):
        site.fail_over()
        add(site.trail, 1, 9)  # in the place of the one that is gone
        return getattr(site.trail, method)(*args)

    if archives:
        monkeypatch.setattr("relay.upkeep.checkpointing.SEGMENT_ENTRIES", 3)
    monkeypatch.setattr(site.trail, method, fail_over_first)
    site.iterate()
    monkeypatch.undo()
    site.iterate()
    found = check(site.trail)
    assert (found.wrong, found.last, found.unsigned) == (None, 3, 0)
    assert [json.loads(line)["subject"] for line in exported(site.trail) if '"seq"' in line] == ["s0", "s1", "s9"]


def test_without_confirming_replicas_verify_says_that_a_failover_lost_what_was_signed(at, pair):
    site = at(0)
    add(site.trail, 2)
    site.iterate()
    pair.join()
    pair.cut_off()
    add(site.trail, 2, 2)
    site.iterate()
    site.fail_over()
    add(site.trail, 3, 7)
    site.iterate()
    found = check(site.trail)
    assert (found.wrong.seq, found.wrong.what) == (3, "lost")
    assert "RELAY_STORE_REPLICAS" in found.wrong.sentence


@pytest.mark.parametrize("change", ["edited", "removed"])
def test_what_is_changed_on_the_same_server_is_not_called_lost(at, pair, change):
    site = at(1)
    add(site.trail, 4)
    site.iterate()
    if change == "edited":
        site.client.lset(ENTRIES, 3, "9 forget k1 acme other     ")
    else:
        site.client.ltrim(ENTRIES, 0, 2)
    site.client.delete(HEAD)
    site.iterate()
    assert (check(site.trail).wrong.seq, check(site.trail).wrong.what) == (4, change)


def test_entries_that_are_changed_in_the_midst_are_not_called_lost_after_a_failover(at, pair):
    site = at(1)
    add(site.trail, 6)
    site.iterate()
    site.fail_over()
    site.client.lset(ENTRIES, 2, "9 forget k1 acme other     ")
    site.client.delete(HEAD)
    site.iterate()
    assert (check(site.trail).wrong.seq, check(site.trail).wrong.what) == (3, "edited")
