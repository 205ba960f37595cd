"""The first table: contenders as their users run them, and callers that know nothing of each other.

Everything is seen from outside: what callers are answered, and what the endpoint receives. How long a call is pending
follows from the time at which it was sent, which it carries to the endpoint.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
from http.client import HTTPConnection
from threading import Thread
from typing import TYPE_CHECKING, Any, Final

from bench.calls import start_callers, summary_of
from bench.children import ROOT, BenchError
from bench.contenders.contender import FAILING, SLOW, SPOT_CHECKS, SkippedError
from bench.plan import PROFILED
from bench.readings import OLDEST_MS, Attempt, Reading, caller_faults, cpu_a_call, keeps_up, receipt_faults, search
from bench.waves import answered_once

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bench.calls import Request
    from bench.contenders.contender import Door, Shippable, Stage
    from bench.plan import Plan

OPEN_CALLERS: Final = 512
MIX_CALLERS: Final = 16
MIX_BULK: Final = 20
PLUGINS: Final = 3
BULK: Final = 1_000
BULK_LINES: Final = 2  # connections that bring bulks: one is read while another is committed
LOOK_S: Final = 0.2
DRAINED_S: Final = 180.0
CALM_S: Final = 0.5  # after so long without a receipt, all have come; a doubled call shows up by then
WRK: Final = "wrk"
WRK_WARMUP_S: Final = 1


def mix(door: Door) -> list[Request]:
    """Return what mixed traffic consists of, from three plugins."""
    parts: list[tuple[str, float, Callable[[int], Request]]] = [
        ("awaited", 45, lambda plugin: door.awaited(plugin=plugin)),
        ("single", 30, door.single),
        ("bulk", 5, lambda plugin: door.bulk(MIX_BULK, plugin)),
        ("chain", 10, door.chain),
        ("slow", 5, lambda plugin: door.awaited(SLOW, plugin)),
        ("failing", 5, lambda plugin: door.awaited(FAILING, plugin)),
    ]
    return [
        replace(request(plugin), name=name, weight=weight)
        for name, weight, request in parts
        for plugin in range(PLUGINS)
    ]


class Shipped:
    """One contender, running, in one round. ``known`` has the sustained rates that earlier rounds found, by callers."""

    def __init__(self, contender: Shippable, stage: Stage, plan: Plan, known: dict[int, float]) -> None:
        self._contender, self._stage, self._endpoint, self._plan = contender, stage, stage.endpoint, plan
        self._known = known
        self._sustains = 0.0
        self._door = contender.ship(stage)
        answered_once(stage, self._door, self._door.awaited())

    def readings(self) -> Iterator[Reading]:
        """Measure row by row. An error is a fault of its row, and the other rows are still measured."""
        for callers in self._plan.awaiting:
            yield self._row(f"awaited {callers}", partial(self._awaited, callers))
            yield self._row(f"awaited {callers} wrk", partial(self._wrk, callers))
        for callers in self._plan.sustaining:
            yield self._row(f"sustained {callers}", partial(self._sustained, callers))
        for share in self._plan.shares:
            yield self._row(f"open {share}", partial(self._open, share))
        yield self._row("mixed", self._mixed)
        yield self._row("bulk", self._bulk)

    def _row(self, row: str, measure: Callable[[], tuple[dict[str, float | None], list[str]]]) -> Reading:
        children = self._stage.children
        try:
            children.check()
            before_s = children.cpu_s()
            figures, faults = measure()
            if row in PROFILED:
                cpu_us = cpu_a_call(before_s, children.cpu_s(), self._endpoint.progress().receipts)
                figures |= {f"{kind}_us": used for kind, used in cpu_us.items()}
        except SkippedError as error:
            figures, faults = {}, [f"skipped: {error}"]
        except Exception as error:  # noqa: BLE001 - whatever breaks a row, the others still run
            text = str(error) if isinstance(error, BenchError) else f"{type(error).__name__}: {error}"
            figures, faults = {}, [text]
            with suppress(OSError):  # what is left of it must not count with the next row
                self._calm()
        return Reading(self._contender.name, row, figures, tuple(faults))

    def _awaited(self, callers: int) -> tuple[dict[str, float | None], list[str]]:
        self._endpoint.reset()
        request = replace(self._door.awaited(), statuses=(200, 202))
        found = self._call([request], callers=callers, warmup_s=self._plan.warmup_s)
        faults = caller_faults(found) + self._checked(found)
        figures = {name: found[name] for name in ("rate_per_s", "p50_ms", "p99_ms")}
        return {**figures, "told_to_wait": found["accepted"] / (found["answered"] + found["accepted"] or 1)}, faults

    def _wrk(self, callers: int) -> tuple[dict[str, float | None], list[str]]:
        """Let an independent load generator, wrk, do the same; it cuts its last calls off."""
        program = shutil.which(WRK)
        if program is None:
            raise SkippedError("wrk is not installed")
        file = _written(self._stage.folder / "request.http", self._door.awaited().text)
        url = f"http://127.0.0.1:{self._door.ports[0]}/"
        options = [*("-t", "1", "-c", str(callers), "-d", f"{self._plan.wrk_s + WRK_WARMUP_S}s", "--timeout", "30s")]
        command = [program, *options, "-s", str(ROOT / "bench" / "wrk.lua"), url, "--", str(file), str(WRK_WARMUP_S)]
        self._endpoint.reset()
        done = subprocess.run(command, capture_output=True, text=True, timeout=self._plan.wrk_s + 60, check=False)
        if done.returncode:
            raise BenchError(f"wrk failed: {done.stderr[-400:]}")
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        answers, accepted = int(found["answered"]), int(found["accepted"])
        self._calm()
        receipts = self._endpoint.receipts()
        faults = [f"{found['faults']} answers were errors"] * bool(found["faults"])
        faults += [f"{receipts.doubled} calls doubled"] * bool(receipts.doubled)
        if not answers + accepted <= receipts.distinct <= answers + accepted + callers:
            faults.append(f"{receipts.distinct} calls received for {answers + accepted} answers")
        figures = {name: found[name] for name in ("rate_per_s", "p50_ms", "p99_ms")}
        return {**figures, "told_to_wait": accepted / (answers + accepted or 1)}, faults

    def _sustained(self, callers: int) -> tuple[dict[str, float | None], list[str]]:
        """Search for the rate of single calls at which the oldest pending one stays younger than a second."""
        faults: list[str] = []
        lags: dict[float, float | None] = {}

        def attempt(rate_per_s: float | None) -> Attempt:
            found, p99_ms = self._tried(callers, rate_per_s, faults)
            lags[found.accepted_per_s] = p99_ms
            return found

        known = self._known.get(callers)
        found = search(attempt, self._plan.tries_again if known else self._plan.tries, known)
        if not found.sustained_per_s:
            raise BenchError("no rate was sustained")
        if found.held_back:
            self._known[callers] = found.sustained_per_s
        self._sustains = max(self._sustains, found.sustained_per_s)
        figures = {"rate_per_s": found.sustained_per_s, "accepted_per_s": found.accepted_per_s}
        return {**figures, "pending_p99_ms": lags.get(found.sustained_per_s)}, faults

    def _tried(self, callers: int, rate_per_s: float | None, faults: list[str]) -> tuple[Attempt, float | None]:
        """Send single calls for a while, and stop early if one has been pending for a second."""
        endpoint, try_s = self._endpoint, self._plan.try_s
        endpoint.reset()
        paced = {} if rate_per_s is None else {"rate_per_s": rate_per_s}
        began_s = time.monotonic()
        process = start_callers(
            self._door.ports, [self._door.single()], callers=callers, warmup_s=0, window_s=try_s, **paced
        )
        while process.poll() is None and time.monotonic() < began_s + try_s + 1:
            if endpoint.progress().most_ms >= OLDEST_MS:
                process.terminate()
                break
            time.sleep(LOOK_S)
        progress, ended_s = endpoint.progress(), time.monotonic()
        found = summary_of(process)
        faults += caller_faults(found) + self._checked(found)
        lags = endpoint.lags()
        received = progress.receipts / (ended_s - (progress.first_s or began_s))
        return Attempt(found["rate_per_s"], received, keeps_up(lags, try_s)), lags.p99_ms

    def _open(self, share: int) -> tuple[dict[str, float | None], list[str]]:
        """Bring single calls with exponential gaps, at a share of what this contender sustains."""
        if not self._sustains:
            raise BenchError("nothing was sustained")
        self._endpoint.reset()
        rate_per_s = self._sustains * share / 100
        found = self._call([self._door.single()], callers=OPEN_CALLERS, warmup_s=0, rate_per_s=rate_per_s)
        faults = caller_faults(found) + self._checked(found)
        lags = self._endpoint.lags()
        figures = {"rate_per_s": found["rate_per_s"], "p50_ms": found["p50_ms"], "p99_ms": found["p99_ms"]}
        return {**figures, "pending_p50_ms": lags.p50_ms, "pending_p99_ms": lags.p99_ms}, faults

    def _mixed(self) -> tuple[dict[str, float | None], list[str]]:
        """Let callers draw at random; the rate is that of the requests which the endpoint receives."""
        self._endpoint.reset()
        found = self._call(mix(self._door), callers=MIX_CALLERS, warmup_s=0)
        self._settle(found["calls"])
        self._calm()
        progress = self._endpoint.progress()
        faults = caller_faults(found) + receipt_faults(self._endpoint.receipts(), calls=found["calls"])
        took_s = (progress.last_s or 0.0) - (progress.first_s or 0.0)
        awaited = found["named"].get("awaited", {})
        figures = {"rate_per_s": found["calls"] / took_s if took_s else None}
        return {**figures, "p50_ms": awaited.get("p50_ms"), "p99_ms": awaited.get("p99_ms")}, faults

    def _bulk(self) -> tuple[dict[str, float | None], list[str]]:
        """Bring many calls, 1,000 a request, while workers send them."""
        self._contender.prepare_bulk(self._stage)
        answered_once(self._stage, self._door, self._door.awaited())
        calls = self._plan.bulk_of(self._contender.name)
        self._endpoint.reset()
        lines = [_BulkLine(self._door, calls // BULK // BULK_LINES) for _ in range(BULK_LINES)]
        began_s = time.monotonic()
        for line in lines:
            line.start()
        for line in lines:
            line.join()
        accepted_s = time.monotonic() - began_s
        told = [json.loads(each) for line in lines for each in line.answers]
        ids = [each["referenceId"].encode() for answer in told for each in answer.get("results", ())]
        self._settle(len(ids))
        progress = self._endpoint.progress()
        self._calm()
        faults = receipt_faults(self._endpoint.receipts(), calls=calls)
        if bad := self._contender.bad_results(self._stage, random.sample(ids, min(SPOT_CHECKS, len(ids))), self._door):
            faults.append(f"{bad} results are not the endpoint's answer")
        drained_s = (progress.last_s or 0.0) - (progress.first_s or 0.0)
        return {"accepted_per_s": len(ids) / accepted_s, "drained_per_s": len(ids) / drained_s}, faults

    def _call(self, requests: list[Request], **options: float) -> dict[str, Any]:
        found = summary_of(start_callers(self._door.ports, requests, window_s=self._plan.window_s, **options))
        if found["missed"]:
            raise BenchError(f"{found['missed']} calls were not answered")
        return found

    def _checked(self, found: dict[str, Any]) -> list[str]:
        """Return what is wrong with the receipts of calls with one id each, once all have come."""
        self._settle(found["distinct"])
        return receipt_faults(self._endpoint.receipts(), calls=found["distinct"], digest=found["digest"])

    def _calm(self) -> None:
        """Wait until no more receipts come."""
        before = -1
        while (now := self._endpoint.progress().receipts) != before:
            before = now
            time.sleep(CALM_S)

    def _settle(self, calls: int) -> None:
        """Wait until the endpoint has received all of them."""
        self._stage.children.wait_until(
            "the last call", lambda: self._endpoint.progress().receipts >= calls, within_s=DRAINED_S
        )


class _BulkLine(Thread):
    """A connection that sends one bulk after the other; the answers are read later."""

    def __init__(self, door: Door, requests: int) -> None:
        super().__init__()
        head, _, self._body = door.bulk(BULK).text.partition("\r\n\r\n")
        start, *fields = head.split("\r\n")
        self._path = start.split(" ")[1]
        self._headers = dict(each.split(": ", 1) for each in fields)
        self._port, self._requests = door.ports[0], requests
        self.answers: list[bytes] = []

    def run(self) -> None:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=DRAINED_S)
        for _ in range(self._requests):
            connection.request("POST", self._path, self._body, self._headers)
            self.answers.append(connection.getresponse().read())
        connection.close()


def _written(file: Path, text: str) -> Path:
    file.touch(mode=0o600)
    file.write_bytes(text.encode())
    return file
