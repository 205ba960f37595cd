"""An API process that is asked to stop while it is still loading."""

import ast
import os
import subprocess
from pathlib import Path

from bench.ports import free_port
from relay.up.child import program
from tests.timing import START_S

ROOT = Path(__file__).parents[2]
LOADING = "loading"
#: An application that begins as the API does, and never ends loading. It writes its line at once, end and all: without
#: Python's buffer `print` writes the end separately, and Granian logs to the same pipe.
APPLICATION = f"""
import api.stop_while_loading
import os, time
os.write(1, b"{LOADING}\\n")
time.sleep(600)
"""


def test_a_stop_ends_granian_also_while_its_worker_loads_the_application(tmp_path):
    (tmp_path / "loads.py").write_text(APPLICATION)
    command = [program("granian"), "--interface", "wsgi", "--port", str(free_port()), "--workers", "1", "loads:app"]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=tmp_path, env=environ, stdout=subprocess.PIPE, text=True) as granian:
        try:
            assert any(line.strip() == LOADING for line in granian.stdout)
            granian.terminate()
            granian.communicate(timeout=START_S)
        finally:
            granian.kill()
    assert granian.returncode == 0


def test_the_api_lets_a_stop_end_it_before_it_imports_anything_else():
    imports = [each for each in ast.parse((ROOT / "api/wsgi.py").read_text()).body if not isinstance(each, ast.Expr)]
    assert [ast.unparse(each) for each in imports[:2]] == [
        "from __future__ import annotations",
        "import api.stop_while_loading",
    ]
