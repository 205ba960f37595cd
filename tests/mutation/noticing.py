"""Runs the tests that have to detect a mutation of one file: `python -m tests.mutation.noticing FILE`.

Runs several commands, the quickest first, and stops at the first that fails.
"""

from __future__ import annotations

import shlex
import subprocess
import sys

from tests.mutation.targets import TARGETS
from tests.processes import signal_group

#: Plain asserts fail like rewritten ones, and save pytest from rewriting every module.
PYTEST = (sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--assert=plain")


def notice(path, timeout_s=None):
    """Return whether a test fails, or the tests take longer than ``timeout_s``."""
    for tests in TARGETS[path]:
        process = subprocess.Popen([*PYTEST, *shlex.split(tests)], start_new_session=True)
        try:
            if process.wait(timeout_s):
                return True
        except subprocess.TimeoutExpired:
            signal_group(process)
            process.wait()
            return True
    return False


if __name__ == "__main__":
    sys.exit(notice(sys.argv[1], float(sys.argv[2])))
