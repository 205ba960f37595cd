"""The logic of webhooks.js and of the console's modules under Node: on a clock that steps, in several time zones."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from relay.domain.invocation import FINAL, Outcome, State
from relay.replay.planning import MAX_COUNT, MAX_RATE, MIN_RATE
from relay.store.replays.jobs import Skip
from tests.javascript import MODULE
from tests.timing import START_S
from tests.tools import require

TESTS = Path(__file__).parent / "javascript"
#: West and east of Greenwich, with and without summer time, on either hemisphere, and off the whole hour.
ZONES = ("UTC", "America/St_Johns", "America/Los_Angeles", "Europe/Berlin", "Asia/Kathmandu", "Pacific/Chatham")
#: What the relay may answer with, for which the console has words, and which numbers it takes.
WORDS = {
    "states": [*State],
    "final": [each for each in State if each in FINAL],
    "outcomes": [*Outcome],
    "skips": [*Skip],
    "limits": {"rate": [MIN_RATE, MAX_RATE], "most": [1, MAX_COUNT]},
}


@pytest.fixture(scope="module")
def modules(tmp_path_factory):
    """The folder of the modules, which Node takes for modules as a browser does."""
    folder = tmp_path_factory.mktemp("modules")
    shutil.copytree(MODULE.parent, folder, dirs_exist_ok=True)
    plot = folder / "console" / "vendor" / "uplot" / "uPlot.esm.js"  # the library's place below the console's address
    plot.parent.mkdir(parents=True)
    shutil.copyfile(TESTS / "plot.mjs", plot)
    (folder / "package.json").write_text(json.dumps({"type": "module"}))
    return folder


def run(name, modules, zone):
    """Run a file of tests; return how many passed."""
    environ = {"PATH": os.environ["PATH"], "MODULES": str(modules), "TZ": zone, "WORDS": json.dumps(WORDS)}
    command = [require("node"), "--test", "--test-reporter=tap", str(TESTS / name)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=START_S, check=False)
    assert done.returncode == 0, f"in {zone}:\n{done.stdout[-6_000:]}{done.stderr[-2_000:]}"
    return int(re.search(r"^# pass (\d+)", done.stdout, re.MULTILINE).group(1))


def test_the_client_waits_pauses_and_gives_up_when_it_should(modules):
    assert run("webhooks.test.mjs", modules, "UTC") > 20


@pytest.mark.parametrize("zone", ZONES)
def test_the_console_s_logic_is_the_same_in_every_time_zone(modules, zone):
    assert run("console.test.mjs", modules, zone) > 20


def test_the_console_s_views_show_what_the_relay_answers(modules):
    assert run("views.test.mjs", modules, "UTC") > 40


def test_the_console_s_views_look_as_they_are_meant_to(modules):
    assert run("pictures.test.mjs", modules, "UTC") > 30


def test_the_console_does_what_its_user_wants(modules):
    assert run("acts.test.mjs", modules, "Asia/Kathmandu") > 40


def test_the_console_s_frame_leads_to_each_view(modules):
    assert run("main.test.mjs", modules, "UTC") > 5
