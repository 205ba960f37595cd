"""Small runs of `make bench`: each contender makes every call once, and every row finds its figures."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from bench.__main__ import BUILD
from bench.children import ROOT
from bench.contenders.bullmq import SOURCE, BullMQ, BullMQWithDuties
from bench.contenders.python_peers import Arq, CeleryRequests, Dramatiq, Taskiq
from bench.contenders.relay import Relay
from bench.plan import QUICK
from bench.run import Run

SMALL = replace(
    QUICK,
    **dict.fromkeys(("awaiting", "sustaining"), (4,)),
    shares=(25,),
    **dict.fromkeys(("warmup_s", "window_s", "try_s", "wave_s"), 0.5),
    wrk_s=1,
    tries=1,
    bulk=2_000,
    slow_bulk=2_000,
    wave_calls=400,
)
#: What a busy machine does is no fault of the bench, nor that wrk is missing.
EXCUSED = ("no rate was sustained", "nothing was sustained", "skipped: wrk is not installed")


def require_packages(stamp, declared):
    """Skip the test, also under CI, unless `make bench` has installed exactly these packages: tests call no registry."""
    if not stamp.exists() or stamp.read_text() != declared.read_text():
        pytest.skip("`make bench` installs its packages")


def require_node_packages():
    require_packages(BUILD / "bullmq" / "installed.json", SOURCE / "package.json")


def run_of(contender, folder):
    run = Run(SMALL, BUILD, lambda _line: None, folder / "stages")
    run.prepare([contender])
    if run.skipped:
        pytest.skip(run.skipped[contender.name])
    return run


def shipped(contender, folder):
    run = run_of(contender, folder)
    run.shipped([contender])
    assert {each.row for each in run.readings} == {
        *("awaited 4", "awaited 4 wrk", "sustained 4", "open 25", "mixed", "bulk"),
    }
    assert [each for each in run.readings if each.faults and each.faults[0] not in EXCUSED] == []


def waves(contender, folder):
    run = run_of(contender, folder)
    run.waves([contender])
    assert run.readings
    assert [each for each in run.readings if each.faults or not each.figures["rate_per_s"]] == []


def test_the_relay_is_measured_as_shipped(tmp_path):
    shipped(Relay(), tmp_path)


def test_celery_is_measured_as_shipped(tmp_path):
    shipped(CeleryRequests(), tmp_path)


def test_the_peer_with_equal_duties_is_measured_as_shipped(tmp_path):
    require_node_packages()
    shipped(BullMQWithDuties(), tmp_path)


class Kept(BullMQWithDuties):
    """Reads, before the server stops, what it keeps of a call."""

    def bad_results(self, stage, ids, door=None):
        client = stage.server.client
        self.indexed = client.zcard("webhook:bench"), client.zcard("outcome:bench:answered")
        job = client.hgetall(b"bull:calls:" + ids[0])
        self.kept = json.dumps({name.decode(): value.decode() for name, value in job.items()})
        return super().bad_results(stage, ids, door)


def test_the_peer_with_equal_duties_seals_and_indexes(tmp_path):
    require_node_packages()
    played = Kept()
    waves(played, tmp_path)
    assert played.indexed == (SMALL.wave_calls, SMALL.wave_calls)
    assert "answered" in played.kept
    assert "patient" not in played.kept
    assert "minutes" not in played.kept


def test_the_bare_peer_makes_every_call_once(tmp_path):
    require_node_packages()
    waves(BullMQ(), tmp_path)


@pytest.mark.parametrize("peer", [Dramatiq, Taskiq, Arq])
def test_a_python_peer_makes_every_call_once(peer, tmp_path):
    declared = ROOT / "bench" / "peers" / peer.package / "requirements.txt"
    require_packages(BUILD / "environments" / peer.package / "installed.txt", declared)
    waves(peer(), tmp_path)
