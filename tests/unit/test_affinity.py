"""An API process that is bound to one processor."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SCRIPT = """
import os, threading
from api.affinity import keep_on
keep_on({number})
seen = []
thread = threading.Thread(target=lambda: seen.append(os.sched_getaffinity(0)))
thread.start()
thread.join()
print(*os.sched_getaffinity(0), *seen[0])
"""


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system has no sched_setaffinity(2)")
@pytest.mark.parametrize("number", [0, 1, 4095])
def test_a_process_and_its_threads_are_kept_on_one_processor_that_they_may_use(number):
    allowed = sorted(os.sched_getaffinity(0))
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(number=number)], capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == [str(allowed[number % len(allowed)])] * 2


def test_where_it_cannot_be_done_nothing_is(monkeypatch):
    from api.affinity import keep_on

    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    keep_on(0)
