"""The garbage collector of serving processes; tested in a separate process, because its settings are global."""

from __future__ import annotations

import subprocess
import sys

from relay.process.garbage import OLDER, YOUNG

SHOW = "import gc; from relay.process import garbage; garbage.set_for_serving(); print(gc.get_freeze_count() > 0, gc.get_threshold())"


def test_what_is_loaded_is_not_searched_again_and_the_young_are_seldom():
    shown = subprocess.run([sys.executable, "-c", SHOW], capture_output=True, text=True, check=True).stdout.strip()
    assert shown == f"True {(YOUNG, OLDER, OLDER)}"
