"""A run: contenders take turns, each on a fresh stage; a failure is a fault of a reading, and the others continue."""

from __future__ import annotations

import shutil
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from bench.children import BenchError, Children, accepts, clean_environment
from bench.contenders.contender import SkippedError, Stage
from bench.ports import free_port
from bench.readings import Reading
from bench.receipts import EndpointControl
from bench.shipped import Shipped
from bench.waves import WAVES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from bench.contenders.contender import Contender, Shippable, Workload
    from bench.plan import Plan

ENDPOINT_S: Final = 20.0


class Run:
    """Runs a plan. ``say`` is called with a line for each reading."""

    def __init__(self, plan: Plan, build: Path, say: Callable[[str], None], stages: Path | None = None) -> None:
        self._plan, self._build, self._say = plan, build, say
        self._stages = stages or build / "stages"
        self._number = 0
        self.readings: list[Reading] = []
        self.skipped: dict[str, str] = {}
        self.versions: dict[str, str] = {}

    def prepare(self, contenders: Sequence[Contender]) -> None:
        """Install what contenders need; those that cannot run here are left out from now on."""
        for contender in contenders:
            try:
                contender.prepare(self._build)
                self.versions.update(contender.versions())
            except SkippedError as error:
                self.skipped[contender.name] = str(error)
                self._say(f"{contender.name}: skipped: {error}")

    def shipped(self, contenders: Sequence[Shippable]) -> None:
        """Measure contenders as their users run them, in turn."""
        known: dict[str, dict[int, float]] = {each.name: {} for each in contenders}
        took_s: dict[str, float] = {}  # of each contender's last round
        end_s = time.monotonic() + self._plan.rounds_within_s
        for number in range(self._plan.rounds):
            able = [each for each in contenders if each.name not in self.skipped]
            playing = [each for each in able if number < self._plan.rounds_of(each.name)]
            if number and time.monotonic() + sum(took_s[each.name] for each in playing) > end_s:
                self._say(f"Round {number + 1} is left out: it would take too long on this machine.")
                break
            for contender in playing:
                began_s = time.monotonic()
                self._ship(contender, known[contender.name])
                took_s[contender.name] = time.monotonic() - began_s

    def _ship(self, contender: Shippable, known: dict[int, float]) -> None:
        with self._stage(f"shipped-{contender.name}") as stage:
            try:
                playing = Shipped(contender, stage, self._plan, known)
            except BenchError as error:
                self._note(Reading(contender.name, "start", {}, (str(error),)))
                return
            for reading in playing.readings():
                self._note(reading)

    def waves(self, contenders: Sequence[Contender]) -> None:
        """Measure layouts made by hand, with calls in waves."""
        for workload in WAVES:
            for _ in range(max(self._plan.wave_rounds, 1)):
                for contender in contenders:
                    if contender.name not in self.skipped:
                        self._wave(contender, workload)

    def _wave(self, contender: Contender, workload: Workload) -> None:
        layout = contender.layout(workload)
        if layout is None:
            return
        calls = self._plan.wave_calls_of(contender.name)
        with self._stage(f"{workload}-{contender.name}") as stage:
            try:
                reading = WAVES[workload](contender, layout, stage, calls, self._plan.wave_s)
            except Exception as error:  # noqa: BLE001 - whatever breaks one, the others still run
                text = str(error) if isinstance(error, BenchError) else f"{type(error).__name__}: {error}"
                reading = Reading(contender.name, f"waves {workload}", {}, (text,), layout.name)
        self._note(reading)

    @contextmanager
    def _stage(self, name: str) -> Iterator[Stage]:
        self._number += 1
        folder = self._stages / f"{self._number:03d}-{name.replace(' ', '')}"
        port = free_port()
        with Children(folder) as children:
            command = [sys.executable, "-m", "bench.endpoint", "--port", str(port)]
            children.start("endpoint", command, clean_environment())
            children.wait_until("the endpoint", lambda: accepts(port), ENDPOINT_S)
            yield Stage(EndpointControl(port), children, folder)
        for data in ("data", "relay"):
            shutil.rmtree(folder / data, ignore_errors=True)

    def _note(self, reading: Reading) -> None:
        self.readings.append(reading)
        told = ", ".join(f"{name} {value:,.1f}" for name, value in reading.figures.items() if value is not None)
        fault = f"  DOES NOT COUNT: {'; '.join(reading.faults)}" if reading.faults else ""
        self._say(f"{reading.contender:20} {reading.row:16} {told}{fault}")
