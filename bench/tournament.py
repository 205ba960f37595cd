"""Runs the tournament: trials choose each contender's best variant, then rounds alternate, each on a fresh stage."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

from bench.children import BenchError, Children, accepts, clean_environment
from bench.contenders.contender import SkippedError, Stage
from bench.plan import LONGEST_DRAIN_S
from bench.ports import free_port
from bench.receipts import EndpointControl
from bench.rounds import Round, best_round
from bench.server import Server
from bench.workloads import Workloads

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from bench.contenders.contender import Contender, Variant
    from bench.plan import Plan, Sizes
    from bench.rounds import Fsync, Workload


class Tournament:
    """Runs a plan. ``say`` is called with every round as it ends; a contender's failure never raises."""

    def __init__(
        self,
        plan: Plan,
        contenders: Sequence[Contender],
        build: Path,
        say: Callable[[str], None],
        *,
        precedence: bool = False,
        stages: Path | None = None,
    ) -> None:
        self._plan = plan
        self._contenders = list(contenders)
        self._build = build
        self._stages = stages or build / "stages"
        self._say = say
        self._number = 0
        self._endpoint_port = free_port()
        self._workloads = Workloads(EndpointControl(self._endpoint_port), plan.callers, precedence=precedence)
        self.trials: list[Round] = []
        self.rounds: list[Round] = []
        self.skipped: dict[str, str] = {}
        self.versions: dict[str, str] = {}

    def play(self) -> None:
        """Runs everything; the results are in ``trials``, ``rounds`` and ``skipped``."""
        shutil.rmtree(self._stages, ignore_errors=True)
        for contender in list(self._contenders):
            try:
                contender.prepare(self._build)
                self.versions.update(contender.versions())
            except SkippedError as error:
                self.skipped[contender.name] = str(error)
                self._contenders.remove(contender)
                self._say(f"{contender.name}: skipped: {error}")
        for workload in self._plan.workloads:
            players = [contender for contender in self._contenders if contender.variants(workload)]
            chosen = {contender.name: self._choose(contender, workload) for contender in players}
            for fsync, rounds in self._plan.rounds.items():
                for _ in range(rounds):
                    for contender in players:
                        variant, trial = chosen[contender.name]
                        sizes = self._plan.sizes[fsync]
                        if workload == "drain" and trial is not None:
                            sizes = sizes.capped(contender.name, trial.rate_per_s, LONGEST_DRAIN_S)
                        self.rounds.append(self._round(contender, variant, workload, fsync, sizes))

    def _choose(self, contender: Contender, workload: Workload) -> tuple[Variant, Round | None]:
        """Return the best variant and its trial; the first variant if no trial counts."""
        variants = contender.variants(workload)
        if self._plan.trial is None:
            return variants[0], None
        trials = [self._round(contender, each, workload, "always", self._plan.trial) for each in variants]
        self.trials += trials
        best = best_round(trials)
        return next((each for each in variants if best and each.name == best.variant), variants[0]), best

    def _round(self, contender: Contender, variant: Variant, workload: Workload, fsync: Fsync, sizes: Sizes) -> Round:
        self._number += 1
        slug = contender.name.split(" ", maxsplit=1)[0]
        folder = self._stages / f"{self._number:03d}-{workload}-{slug}-{fsync}"
        plays = {"drain": self._workloads.drain, "await": self._workloads.awaited, "accept": self._workloads.accepted}
        play = plays[workload]
        with Children(folder) as children:
            try:
                stage = self._stage(children, folder, fsync)
                played = play(contender, variant, stage, fsync, sizes)
            except Exception as error:  # noqa: BLE001 - whatever breaks a round, the others still run
                text = str(error) if isinstance(error, BenchError) else f"{type(error).__name__}: {error}"
                played = Round(contender.name, workload, fsync, variant.name, 0, 0.0, None, None, (text,))
        shutil.rmtree(folder / "data", ignore_errors=True)
        self._say(_line(played))
        return played

    def _stage(self, children: Children, folder: Path, fsync: Fsync) -> Stage:
        command = [sys.executable, "-m", "bench.endpoint", "--port", str(self._endpoint_port)]
        children.start("endpoint", command, clean_environment())
        children.wait_until("the endpoint", lambda: accepts(self._endpoint_port), within_s=10)
        server = Server(children, folder, fsync)
        return Stage(server, EndpointControl(self._endpoint_port).url, children, folder)


def _line(played: Round) -> str:
    if not played.counts:
        text = "does not count: " + "; ".join(played.faults)
    elif played.p50_ms is None:
        text = f"{played.rate_per_s:,.0f} calls/s"
    else:
        text = f"{played.rate_per_s:,.0f} answers/s, p50 {played.p50_ms:.1f} ms, p99 {played.p99_ms:.1f} ms"
    if played.counts:
        text += "; us a call: " + ", ".join(f"{kind} {used:.0f}" for kind, used in played.cpu_us.items())
    return f"{played.workload:6} {played.fsync:8} {played.contender:20} {played.variant:34} {text}"
