"""Small runs of `python -m bench.sweeps` and `bench.floors`: each makes every call once and finds its figures."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from bench.contenders.relay import Relay
from bench.floors.__main__ import Floors
from bench.scene import Scenes
from bench.sweeps import arriving, sending
from bench.sweeps.sweep import Sweep
from relay.cli import main


@pytest.fixture
def commands_here(monkeypatch):
    """Runs the relay's commands in this process; other tests start each as `make bench` does."""

    def run(relay, stage, *arguments):
        done = CliRunner().invoke(main, arguments, env=relay._environment(stage), catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout_bytes

    monkeypatch.setattr(Relay, "command", run)


@pytest.mark.usefixtures("commands_here")
@pytest.mark.parametrize("sweep", [sending.tls, sending.chains])
def test_a_sweep_makes_every_call_once(sweep, tmp_path):
    found = sweep(Scenes(tmp_path), 200)
    assert [x for x, _ in found.series["relay"]] == [0, 1]
    assert all(y > 0 for _, y in found.series["relay"])
    assert json.loads(json.dumps(found.to_json()))["labels"]


def test_the_bulk_sweep_accepts_what_it_brings(tmp_path, monkeypatch):
    monkeypatch.setattr(arriving, "BATCH", 100)
    found = arriving.bulk_accept(Scenes(tmp_path), 2_000)
    assert found.series["relay"][-1][0] == 2_000
    assert found.series["relay, 2 API processes"][-1][0] >= 2_000


def test_floors_are_found(tmp_path):
    found = Floors(tmp_path, calls=2_000, window_s=0.5).measure()
    assert len(found) == 4
    assert all(used_us > 0 for name, used_us in found.items() if "empty script" not in name)


def test_a_goal_is_met_missed_or_unknown():
    sweep = Sweep("name", "title", "x", "y")
    sweep.want("half", 0.6, 0.5)
    sweep.want("all", 0.6, 1.0)
    sweep.want("something", None, 1.0)
    sweep.want_at_most("little", 3.0, 2.0, "KiB")
    assert [goal.met for goal in sweep.goals] == [True, False, None, False]
