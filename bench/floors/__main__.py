"""`python -m bench.floors`: what libcurl, Granian and the server cost alone, in microseconds of processor.

Run it right before or after `python -m bench`, whose figures for the relay it helps to read.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from rich.console import Console

from bench.__main__ import BUILD
from bench.calls import Request, post_request, start_callers, summary_of
from bench.children import ROOT, BenchError, Children, accepts, clean_environment, end_on_sigterm
from bench.contenders.contender import DATA, START_S
from bench.machine import machine
from bench.ports import free_port
from bench.readings import cpu_a_call
from bench.receipts import EndpointControl
from bench.server import Server
from bench.waves import CALLERS

if TYPE_CHECKING:
    from collections.abc import Callable

THREADS: Final = 300  # more than there are callers, as in the relay's API process
#: Applications, each with its interface and its number of callers.
FRONTS: Final = {
    "granian, a bare WSGI application, 64 callers": ("hello:application", "wsgi", CALLERS),
    "granian, WSGI, 64 callers who wait": ("waiting:application", "wsgi", CALLERS),
    "granian, WSGI, 256 callers who wait": ("waiting:application", "wsgi", 256),
    "granian, RSGI, 64 callers who wait": ("waiting:waiting", "rsgi", CALLERS),
    "granian, RSGI, 256 callers who wait": ("waiting:waiting", "rsgi", 256),
}
PIPELINE: Final = 24  # calls in one write: about the size of a group
SEALED: Final = b"x" * 330  # the sealed payload of a call of `python -m bench`


class Floors:
    """Measures each part by itself, on processes of its own."""

    def __init__(self, folder: Path, *, calls: int, window_s: float = 2.0) -> None:
        self._folder = folder
        self._calls = calls
        self._window_s = window_s

    def measure(self) -> dict[str, float]:
        """Return microseconds of processor a call, by part."""
        parts: dict[str, Callable[[Children], float]] = {
            "libcurl, 64 at a time from plain Python": self._curl,
            **{name: partial(self._granian, *front) for name, front in FRONTS.items()},
            "server, the commands of a call alone, 24 calls a write": self._commands,
            "server, an empty script a call": self._scripts,
        }
        found = {}
        for number, (name, part) in enumerate(parts.items()):
            with Children(self._folder / str(number)) as children:
                found[name] = round(part(children), 1)
        return found

    def _curl(self, children: Children) -> float:
        port = free_port()
        children.start("endpoint", [sys.executable, "-m", "bench.endpoint", "--port", str(port)], clean_environment())
        children.wait_until("the endpoint", lambda: accepts(port), START_S)
        return float(_run("bench.floors.curl", EndpointControl(port).url, str(self._calls)))

    def _granian(self, application: str, interface: str, callers: int, children: Children) -> float:
        port = free_port()
        command = [sys.executable, "-m", "granian", "--interface", interface, "--port", str(port), "--workers", "1"]
        command += ["--blocking-threads", str(THREADS)] if interface == "wsgi" else []
        command += ["--http", "1", "--no-ws", f"bench.floors.{application}"]
        children.start("front", command, clean_environment())
        children.wait_until("Granian", lambda: accepts(port), START_S)
        request = post_request("/", json.dumps({"data": DATA}).encode())
        asked = Request("bare", request.decode(), statuses=(200, 202))
        options = {"callers": callers, "warmup_s": 0.5, "window_s": self._window_s}
        before = children.cpu_s()
        answers = summary_of(start_callers((port,), [asked], **options))["answers"]
        return cpu_a_call(before, children.cpu_s(), answers)["front"]

    def _commands(self, children: Children) -> float:
        server = Server(children, self._folder / "commands", "always")
        before = children.cpu_s()
        for start in range(0, self._calls, PIPELINE):
            pipeline = server.client.pipeline(transaction=False)
            for number in range(start, start + PIPELINE):
                _commands_of(pipeline, b"floor:%d" % number)
            pipeline.execute()
        return cpu_a_call(before, children.cpu_s(), self._calls)["server"]

    def _scripts(self, children: Children) -> float:
        server = Server(children, self._folder / "scripts", "always")
        sha = server.client.script_load("return 1")
        before = children.cpu_s()
        for _ in range(self._calls // PIPELINE):
            pipeline = server.client.pipeline(transaction=False)
            for _ in range(PIPELINE):
                pipeline.evalsha(sha, 0)
            pipeline.execute()
        return cpu_a_call(before, children.cpu_s(), self._calls)["server"]


def _commands_of(pipeline: Any, name: bytes) -> None:
    """Queue the fewest commands that a record's life needs: write, find, take, end, index."""
    pipeline.hset(name, mapping={"state": "queued", "webhook": "bench-call", "createdAt": 1, "plugin": "bench"})
    pipeline.set(name + b":payload", SEALED)
    pipeline.zadd("due", {name: 1})
    pipeline.hmget(name, "state", "webhook", "createdAt", "plugin")
    pipeline.get(name + b":payload")
    pipeline.hset(name, mapping={"state": "sending", "token": "t"})
    pipeline.hset(name, mapping={"state": "delivered", "status": 200, "attempt": "[1,2,3]"})
    pipeline.set(name + b":result", SEALED[:60])
    pipeline.zrem("due", name)
    pipeline.zadd("ended", {name: 2})


def _run(module: str, *arguments: str) -> bytes:
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        timeout=120,
        check=False,
    )
    if done.returncode:
        raise BenchError(f"{module} failed: {done.stderr.decode(errors='replace')[-400:]}")
    return done.stdout


@click.command()
@click.option("--calls", type=click.IntRange(1_000, 1_000_000), default=20_000, show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path), default=BUILD / "floors.json", show_default=False)
def main(calls: int, json_file: Path) -> None:
    """Measure what the parts cost alone."""
    end_on_sigterm()
    shutil.rmtree(BUILD / "floors", ignore_errors=True)
    found = Floors(BUILD / "floors", calls=calls).measure()
    console = Console(soft_wrap=True, highlight=False)
    for name, used_us in found.items():
        console.print(f"{used_us:7.1f} us a call: {name}")
    json_file.parent.mkdir(parents=True, exist_ok=True)
    json_file.write_text(json.dumps({"machine": machine(), "floors": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
