"""Small runs of the peers of `make bench`: each makes every call once, and records what the endpoint answered."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from bench.__main__ import BUILD
from bench.children import ROOT
from bench.contenders.bullmq import SOURCE, BullMQ, BullMQWithDuties
from bench.contenders.python_peers import Arq, Dramatiq, Taskiq
from bench.plan import QUICK, Sizes
from bench.tournament import Tournament

CALLS = 40


def require_packages(stamp, declared):
    """Skip the test, also under CI, unless `make bench` has installed exactly these packages: tests call no registry."""
    if not stamp.exists() or stamp.read_text() != declared.read_text():
        pytest.skip("`make bench` installs its packages")


def require_node_packages():
    require_packages(BUILD / "bullmq" / "installed.json", SOURCE / "package.json")


class Kept(BullMQWithDuties):
    """Reads, before the server stops, what it keeps of a call."""

    def variants(self, workload):
        """Play the largest: two workers, or two fronts that callers spread over."""
        return super().variants(workload)[-1:]

    def recorded(self, stage):
        client = stage.server.client
        self.indexed = client.zcard("webhook:bench-call"), client.zcard("outcome:bench-call:answered")
        return super().recorded(stage)

    def bad_results(self, stage, ids):
        job = stage.server.client.hgetall(b"bull:calls:" + ids[0])
        self.kept = json.dumps({name.decode(): value.decode() for name, value in job.items()})
        return super().bad_results(stage, ids)


def play(contender, folder, workloads):
    sizes = Sizes({contender.name: CALLS}, warmup_s=0.2, window_s=1.0)
    plan = replace(QUICK, rounds={"everysec": 1}, sizes={"everysec": sizes}, workloads=workloads, callers=8)
    tournament = Tournament(plan, [contender], BUILD, lambda _line: None, stages=folder / "stages")
    tournament.play()
    if tournament.skipped:
        pytest.skip(tournament.skipped[contender.name])
    assert [played.faults for played in tournament.rounds] == [()] * len(workloads)
    assert all(played.rate_per_s > 0 for played in tournament.rounds)
    return contender


def test_the_bare_peer_makes_every_call_once(tmp_path):
    require_node_packages()
    play(BullMQ(), tmp_path, ("drain",))


def test_the_peer_with_equal_duties_drains_awaits_and_accepts(tmp_path):
    require_node_packages()
    played = play(Kept(), tmp_path, ("drain", "await", "accept"))
    assert played.indexed[0] >= CALLS
    assert played.indexed[0] == played.indexed[1]
    assert "answered" in played.kept
    assert "patient" not in played.kept
    assert "minutes" not in played.kept


@pytest.mark.parametrize("peer", [Dramatiq, Taskiq, Arq])
def test_a_python_peer_makes_every_call_once(peer, tmp_path):
    declared = ROOT / "bench" / "peers" / peer.package / "requirements.txt"
    require_packages(BUILD / "environments" / peer.package / "installed.txt", declared)
    play(peer(), tmp_path, ("drain", "await"))
