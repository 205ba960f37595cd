"""The commands by which Docker and Kubernetes ask whether a worker answers, each as its file has it."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.timing import START_S

from .worker_harness import worker_harness

ROOT = Path(__file__).parents[2]
FILES = ("docker-compose.yml", "deploy/kubernetes/base/workers.yaml")
PROBES = sorted(
    {probe for name in FILES for probe in re.findall(r"celery -A .*--destination", (ROOT / name).read_text())}
)


@pytest.fixture(scope="module")
def harness(tmp_path_factory):
    with worker_harness(tmp_path_factory) as harness:
        harness.start_worker("bulk")
        yield harness


def answer(harness, probe, worker):
    return subprocess.run(
        [Path(sys.executable).with_name("celery"), *shlex.split(probe)[1:], f"{worker}@{socket.gethostname()}"],
        cwd=ROOT,
        env={**os.environ, **harness.environ},
        capture_output=True,
        text=True,
        timeout=START_S,
        check=False,
    )


@pytest.mark.parametrize("probe", PROBES)
def test_a_probe_succeeds_for_a_worker_that_runs_and_fails_for_one_that_does_not(harness, probe):
    there, away = answer(harness, probe, "bulk1"), answer(harness, probe, "bulk2")
    assert (there.returncode, "pong" in there.stdout) == (0, True), there.stderr
    assert away.returncode != 0


@pytest.mark.parametrize("probe", PROBES)
def test_a_probe_does_not_load_all_that_a_worker_does(probe):
    assert probe.startswith("celery -A workers.lane_app ")
