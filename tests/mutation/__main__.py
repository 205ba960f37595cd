"""Mutates the most important files, one place at a time, and reports mutations that no test detects (`make mutate`).

cosmic-ray mutates Python and `lua_mutants` Lua, both in a copy. ``survivors.md`` lists the known survivors, each with
the reason why it is harmless.
"""

from __future__ import annotations

import argparse
import compileall
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from tests.mutation.lua_mutants import mutants
from tests.mutation.noticing import notice
from tests.mutation.targets import TARGETS

ROOT = Path(__file__).parents[2]
KNOWN = Path(__file__).with_name("survivors.md")
CONFIG = """
[cosmic-ray]
module-path = "{path}"
timeout = {timeout_s}
excluded-modules = []
test-command = "{python} -m tests.mutation.noticing {path} {timeout_s}"
[cosmic-ray.distributor]
name = "local"
"""
#: Tests count as hanging after this many times their usual duration plus this many seconds.
TIMES, MORE_S = 4, 60
#: Not mutated: code for type checkers does not run in tests, and annotations are not evaluated.
TYPES = "if TYPE_CHECKING:"
ANNOTATIONS = "core/ReplaceBinaryOperator_BitOr%"


def main():
    options = _options()
    with tempfile.TemporaryDirectory() as name:
        os.chdir(_copy(Path(name) / "relay"))
        tried, survivors = 0, []
        for path in TARGETS:
            if options.only not in path:
                continue
            begun_s = time.monotonic()
            if notice(path):
                sys.exit(f"{path}: tests fail without a mutation")
            timeout_s = MORE_S + TIMES * (time.monotonic() - begun_s)
            results = (_of_lua if path.endswith(".lua") else _of_python)(path, timeout_s, options)
            alive = [each for each, killed in results if not killed]
            tried += len(results)
            survivors += [(path, each) for each in alive]
            print(f"{path}: {len(results) - len(alive)} of {len(results)} noticed", flush=True)
    known = KNOWN.read_text()
    unknown = [f"`{path}`: {each}" for path, each in survivors if f"`{path}`: {each}" not in known]
    print(
        f"{tried - len(survivors)} of {tried} noticed, {len(survivors) - len(unknown)} survivors known",
        *unknown,
        sep="\n",
    )
    sys.exit(bool(unknown))


def _options():
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--tool", default=str(ROOT / ".venv-mutate" / "bin" / "cosmic-ray"))
    parser.add_argument("--only", default="", help="files whose path holds this")
    parser.add_argument("--sample", type=int, default=sys.maxsize, help="so many mutations of each file")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def _copy(copy):
    """Copy the project, for tests and their processes to import, and compile it, so that a mutated file is newer."""
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", ".venv*", ".relay", "__pycache__", ".*_cache"))
    compileall.compile_dir(copy, quiet=1)
    os.environ |= {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    return copy


def _of_python(path, timeout_s, options):
    session, config = Path("session.sqlite"), Path("mutate.toml")
    lines = Path(path).read_text().splitlines()
    session.unlink(missing_ok=True)
    config.write_text(CONFIG.format(path=path, timeout_s=timeout_s, python=sys.executable))
    subprocess.run([options.tool, "init", config, session], check=True, capture_output=True)
    with closing(sqlite3.connect(session)) as work, work:
        jobs = work.execute("SELECT job_id, start_pos_row FROM mutation_specs WHERE operator_name NOT LIKE ? ORDER BY "
                            "start_pos_row, start_pos_col, operator_name, occurrence", (ANNOTATIONS,)).fetchall()  # fmt: skip
        chosen = _chosen([job for job, row in jobs if not lines[row - 1].startswith(TYPES)], options)
        marks = ",".join("?" * len(chosen))
        for table in ("mutation_specs", "work_items"):
            work.execute(f"DELETE FROM {table} WHERE job_id NOT IN ({marks})", chosen)
    subprocess.run([options.tool, "exec", config, session], check=True)
    with closing(sqlite3.connect(session)) as work:
        rows = work.execute("SELECT test_outcome, diff FROM work_results").fetchall()
    return [(_line(diff), outcome != "SURVIVED") for outcome, diff in rows]


def _of_lua(path, timeout_s, options):
    file, results = Path(path), []
    text = file.read_text()
    for before, after, mutated in _chosen(list(mutants(text)), options):
        file.write_text(mutated)
        results.append((f"`{before}` => `{after}`", notice(path, timeout_s)))
        file.write_text(text)
    return results


def _chosen(found, options):
    return random.Random(options.seed).sample(found, min(options.sample, len(found)))


def _line(diff):
    """Return a mutation as one line: the code before and after."""
    lines = [line for line in diff.split("\n") if line[:1] in "+-" and line[:3] not in {"+++", "---"}]
    before, after = (" ".join(line[1:].strip() for line in lines if line[:1] == sign) for sign in "-+")
    return f"`{before}` => `{after}`"


if __name__ == "__main__":
    main()
