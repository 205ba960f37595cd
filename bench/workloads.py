"""The workloads: queued calls drained, awaited calls answered, single calls accepted."""

from __future__ import annotations

import json
import random
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from bench.children import ROOT, BenchError, clean_environment
from bench.contenders.contender import SPOT_CHECKS, START_S
from bench.receipts import digest_of
from bench.rounds import Round, accept_faults, await_faults, cpu_a_call, drain_faults
from bench.wire import UnreadableMessageError, take_message

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.contenders.contender import Contender, Front, Stage, Variant
    from bench.plan import Sizes
    from bench.receipts import EndpointControl
    from bench.rounds import Fsync, Workload

SLOWEST_PER_S: Final = 100  # a drain slower than this is given up
LATE_RECEIPTS_S: Final = 0.5  # how long a doubled call may take to show up after the last result
FIRST_ANSWER_S: Final = 15.0


class Workloads:
    """Runs one round at a time on the given stage."""

    def __init__(self, endpoint: EndpointControl, callers: int, *, precedence: bool = False) -> None:
        self._endpoint = endpoint
        self._callers = callers
        self._precedence = precedence

    def drain(self, contender: Contender, variant: Variant, stage: Stage, fsync: Fsync, sizes: Sizes) -> Round:
        """Queues all calls, then starts the workers; measures from the first receipt to the last recorded result."""
        calls = sizes.calls[contender.name]
        ids = contender.enqueue(stage, calls)
        before = contender.recorded(stage)
        self._endpoint.reset()
        contender.start_workers(stage, variant, "drain")
        stage.children.wait_until("the first receipt", lambda: self._endpoint.receipts().receipts > 0, START_S)
        used_s = self._measured(stage)
        within_s = calls / SLOWEST_PER_S + START_S
        stage.children.wait_until("the last result", lambda: contender.recorded(stage) - before >= calls, within_s)
        end_s = time.monotonic()
        cpu_us = cpu_a_call(used_s, stage.children.cpu_s(), calls)
        time.sleep(LATE_RECEIPTS_S)
        receipts = self._endpoint.receipts()
        faults = drain_faults(
            receipts,
            calls=calls,
            digest=digest_of(ids),
            recorded=contender.recorded(stage) - before,
            bad_results=contender.bad_results(stage, random.sample(ids, min(SPOT_CHECKS, calls))),
        )
        rate = calls / (end_s - (receipts.first_s or 0.0))
        return Round(contender.name, "drain", fsync, variant.name, calls, rate, None, None, faults, cpu_us)

    def awaited(self, contender: Contender, variant: Variant, stage: Stage, fsync: Fsync, sizes: Sizes) -> Round:
        """Keeps all callers busy for the warm-up and the window; measures the rate of the answers inside the window."""
        front = contender.start_front(stage, variant)
        contender.start_workers(stage, variant, "await")
        stage.children.wait_until("the first answer", lambda: _answers_once(front), START_S)
        time.sleep(LATE_RECEIPTS_S)  # more workers may still be starting, abandoned calls may still end
        self._endpoint.reset()
        used_s = self._measured(stage)
        summary = self._call(front, sizes)
        stage.children.check()
        cpu_us = cpu_a_call(used_s, stage.children.cpu_s(), summary["answers"])
        time.sleep(LATE_RECEIPTS_S)
        faults = await_faults(self._endpoint.receipts(), summary)
        return _answered("await", contender, variant, fsync, summary, faults, cpu_us)

    def accepted(self, contender: Contender, variant: Variant, stage: Stage, fsync: Fsync, sizes: Sizes) -> Round:
        """Keeps all callers busy with calls that are not awaited, while no worker runs; measures acceptances."""
        front = contender.start_front(stage, variant)
        stage.children.wait_until("the first acceptance", lambda: _answers_once(front.accepting, b"202"), START_S)
        used_s = self._measured(stage)
        before = contender.queued(stage)
        summary = self._call(front.accepting, sizes, "--accepting")
        stage.children.check()
        cpu_us = cpu_a_call(used_s, stage.children.cpu_s(), summary["answers"])
        faults = accept_faults(contender.queued(stage) - before, summary)
        return _answered("accept", contender, variant, fsync, summary, faults, cpu_us)

    def _measured(self, stage: Stage) -> dict[str, float]:
        """Return the processor time that the processes have used when measuring begins."""
        if self._precedence:
            stage.children.take_precedence()
        return stage.children.cpu_s()

    def _call(self, front: Front, sizes: Sizes, *options: str) -> dict[str, Any]:
        command = [sys.executable, "-m", "bench.caller", "--port", *map(str, front.ports)]
        command += ["--callers", str(self._callers)]
        command += ["--warmup-s", str(sizes.warmup_s), "--window-s", str(sizes.window_s), *options]
        done = subprocess.run(
            command,
            input=front.request,
            cwd=ROOT,
            env=clean_environment(),
            capture_output=True,
            timeout=sizes.warmup_s + sizes.window_s + 60,
            check=False,
        )
        if done.returncode:
            raise BenchError(f"The callers failed: {done.stderr.decode(errors='replace')[-400:]}")
        summary: dict[str, Any] = json.loads(done.stdout)
        return summary


def _answered(
    workload: Workload,
    contender: Contender,
    variant: Variant,
    fsync: Fsync,
    summary: Mapping[str, Any],
    faults: tuple[str, ...],
    cpu_us: Mapping[str, float],
) -> Round:
    """Make a round from the summary that the callers printed."""
    rate, p50, p99 = summary["rate_per_s"], summary["p50_ms"], summary["p99_ms"]
    return Round(contender.name, workload, fsync, variant.name, summary["answers"], rate, p50, p99, faults, cpu_us)


def _answers_once(front: Front, wanted: bytes = b"200") -> bool:
    """Return whether one call is answered with the wanted status."""
    buffer = bytearray()
    try:
        with socket.create_connection(("127.0.0.1", front.ports[0]), timeout=FIRST_ANSWER_S) as connection:
            connection.sendall(front.request)
            while (answer := take_message(buffer)) is None:
                received = connection.recv(65_536)
                if not received:
                    return False
                buffer += received
    except (OSError, UnreadableMessageError):
        return False
    return answer.head.startswith(b"HTTP/1.1 " + wanted)
