"""How a cluster is formed of servers, step by step; real ones are formed in `tests/cluster/test_forming.py`."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import redis

from relay.errors import Conflict, Unavailable
from relay.store.server import cluster
from relay.store.server.cluster import ClusterSeat, Forming
from tests.receivers import LOOPBACK

CHANGING = {"MEET", "ADDSLOTSRANGE", "REPLICATE"}


class Server:
    """A server of a cluster, as far as its administrator sees it. What it is told takes effect at the next poll."""

    def __init__(self, site, number):
        self.site, self.number, self.id = site, number, f"id{number}"
        self.known, self.slots, self.follows = {self}, [], None
        self.is_following = False  # its data is up to date
        self.errors = []  # raised by its next commands, None by those that work

    def execute_command(self, name, *args):
        if self.errors and (error := self.errors.pop(0)):
            raise error
        what = name.removeprefix("CLUSTER ")
        if what in CHANGING:
            self.site.told.append((self.number, what, *args))
        return getattr(self, f"_{what.lower()}")(*args)

    def info(self, what):
        assert what == "replication"
        if self.follows is None:
            return {"role": "master"}
        return {"role": "slave", "master_link_status": "up" if self.is_following else "down"}

    def _info(self):
        assigned = sum(last - first + 1 for each in self.known for first, last in each.slots)
        is_ok = assigned == cluster.SLOTS and not self.site.is_failing
        return {
            "cluster_known_nodes": str(len(self.known)),
            "cluster_slots_assigned": str(assigned),
            "cluster_state": "ok" if is_ok else "fail",
        }

    def _myid(self):
        return self.id.encode()

    def _nodes(self):
        return {f"{LOOPBACK}:{each.number}": each.entry(self) for each in self.known} | self.site.others

    def entry(self, asked):
        flags = "master" if self.follows is None else "slave"
        master_id = "-" if self.follows is None else self.follows
        flags = f"myself,{flags}" if asked is self else flags
        connected = self not in self.site.unreached
        return {
            "flags": flags,
            "node_id": self.id,
            "slots": self.slots,
            "master_id": master_id,
            "connected": connected,
        }

    def _meet(self, host, port, bus_port):
        assert (host, bus_port) == (LOOPBACK, port + 10)
        self.site.unreached.discard(self.site.servers[port])
        self.site.meetings.append((self, self.site.servers[port]))

    def _addslotsrange(self, first, last):
        if self.slots:
            raise redis.ResponseError(f"Slot {first} is already busy")
        self.slots = [(first, last)]

    def _replicate(self, primary):
        self.follows = primary


class Site:
    """Servers that know nothing of each other, and a clock that moves on with each poll."""

    def __init__(self, count):
        self.told, self.meetings, self.others, self.is_failing, self.now_s = [], [], {}, False, 100.0
        self.unreached = set()  # servers that have moved, so that those that know them do not reach them
        self.servers = [Server(self, number) for number in range(count)]
        self.seats = [ClusterSeat(f"redis://{number}", "localhost", number, number + 10) for number in range(count)]

    def client(self, url, **times_s):
        assert times_s == {"socket_timeout": 5.0, "socket_connect_timeout": 5.0}
        return nullcontext(self.servers[int(url.removeprefix("redis://"))])

    def sleep(self, seconds):
        self.now_s += seconds
        for one, other in self.meetings:
            known = one.known | other.known
            for each in known:
                each.known = set(known)
        for each in self.servers:
            each.is_following = each.follows is not None

    def shape(self):
        """Return the slots of each primary, and whom each of the others follows."""
        return [each.slots or each.follows for each in self.servers]


@pytest.fixture
def site(monkeypatch):
    def make(count):
        site = Site(count)
        monkeypatch.setattr(cluster, "client_of", site.client)
        monkeypatch.setattr(cluster, "gethostbyname", {"localhost": LOOPBACK}.get)
        monkeypatch.setattr(cluster, "time", SimpleNamespace(monotonic=lambda: site.now_s, sleep=site.sleep))
        return site

    return make


@pytest.mark.parametrize(
    ("count", "primaries", "shape"),
    [
        (1, 1, [[(0, 16_383)]]),
        (3, 3, [[(0, 5_460)], [(5_461, 10_921)], [(10_922, 16_383)]]),
        (4, 2, [[(0, 8_191)], [(8_192, 16_383)], "id0", "id1"]),
        (5, 2, [[(0, 8_191)], [(8_192, 16_383)], "id0", "id1", "id0"]),
    ],
)
def test_the_first_servers_share_the_slots_and_the_others_follow_them_in_turn(site, count, primaries, shape):
    site = site(count)
    Forming(site.seats, primaries).finish(lambda: True)
    assert site.shape() == shape
    assert {each for each in site.told if each[1] == "MEET"} == {
        (0, "MEET", LOOPBACK, number, number + 10) for number in range(1, count)
    }
    before_s, site.told = site.now_s, []
    Forming(site.seats, primaries).finish(lambda: False)
    assert (site.told, site.now_s) == ([], before_s), "what is whole is left as it is"


def test_a_cluster_that_is_half_made_is_completed(site):
    site = site(5)
    site.servers[0].slots, site.servers[3].follows = [(0, 8_191)], "id0"
    Forming(site.seats, 2).finish(lambda: True)
    assert site.shape() == [[(0, 8_191)], [(8_192, 16_383)], "id1", "id0", "id0"]
    assert (3, "REPLICATE", "id0") not in site.told


def test_servers_are_introduced_that_are_not_reached_or_know_nobody_and_no_others(site):
    site = site(4)
    everybody = set(site.servers)
    for each in site.servers:
        each.known = set(everybody)
    site.unreached.add(site.servers[1])
    site.servers[3].known = {site.servers[3]}
    Forming(site.seats, 2).finish(lambda: True)
    assert [each[3] for each in site.told if each[1] == "MEET"] == [1, 3]
    assert site.shape() == [[(0, 8_191)], [(8_192, 16_383)], "id0", "id1"]


@pytest.mark.parametrize("error", [redis.ConnectionError(), redis.ResponseError("Unknown node id0"), OSError()])
@pytest.mark.parametrize("works", range(6))
def test_a_server_that_is_not_ready_is_tried_again(site, error, works):
    site = site(3)
    site.servers[2].errors = [*[None] * works, error]
    Forming(site.seats, 2).finish(lambda: True)
    assert site.shape() == [[(0, 8_191)], [(8_192, 16_383)], "id0"]


@pytest.mark.parametrize("stranger", ["master", "slave", "master,handshake"])
def test_servers_that_know_another_one_are_introduced_to_nobody(site, stranger):
    site = site(2)
    site.others = {
        "10.0.0.1:7": {"flags": stranger, "node_id": "foreign", "slots": [], "master_id": "-", "connected": False}
    }
    forming = Forming(site.seats, 2)
    if "handshake" in stranger:
        forming.finish(lambda: True)
        assert site.shape() == [[(0, 8_191)], [(8_192, 16_383)]]
        return
    with pytest.raises(Conflict, match=r"connected to 10\.0\.0\.1:7, which was not given"):
        forming.finish(lambda: True)
    assert site.told == []


def test_a_cluster_counts_as_formed_once_it_serves_and_replicas_have_the_data(site):
    site = site(3)
    Forming(site.seats, 2).finish(lambda: True)
    for member, value in (("is_failing", True), ("is_following", False)):
        one = site if member == "is_failing" else site.servers[2]
        setattr(one, member, value)
        with pytest.raises(Unavailable):
            Forming(site.seats, 2).finish(lambda: False)
        setattr(one, member, not value)
    with pytest.raises(Unavailable):
        Forming(site.seats, 3).finish(lambda: False)
    Forming(site.seats, 2).finish(lambda: False)


@pytest.mark.parametrize(("within_s", "polls"), [({}, 900), ({"within_s": 1.0}, 10)])
def test_a_cluster_that_does_not_come_about_is_given_up_in_time_or_when_nobody_wants_it(site, within_s, polls):
    site = site(2)
    site.is_failing, asked = True, []
    forming = Forming(site.seats, 2)
    with pytest.raises(Unavailable, match="did not form"):
        forming.finish(lambda: asked.append(site.now_s) or True, **within_s)
    assert polls <= len(asked) <= polls + 2
    begun_s = site.now_s
    with pytest.raises(Unavailable, match="did not form"):
        forming.finish(lambda: False)
    assert site.now_s == begun_s
