"""Draws faults in the areas of the product, each line as likely as any other."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.mutation import ROOT, python_faults, text_faults

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

AREAS: Final = {
    "scripts": ("relay/store/lua",),
    "store": ("relay/store", "relay/audit", "relay/upkeep"),
    "views": ("relay/metrics", "relay/telemetry", "relay/text", "relay/settings", "relay/domain"),
    "executor": ("relay/executor", "relay/outbound", "workers"),
    "replays": ("relay/replay", "relay/chains", "relay/upkeep/alerts.py", "relay/upkeep/callbacks.py"),
    "answers": ("relay/answer",),
    "door": ("api", "relay/accept", "relay/authentication", "relay/request"),
    "clients": ("relay/client", "api/static/webhooks.js"),
    "console": ("api/static/console",),
    "registration": ("relay/registration", "relay/declarations", "relay/vault.py"),
    "operators": ("relay/cli", "relay/doctor", "relay/up", "relay/backup", "relay/rotation", "relay/process", "relay/wiring"),
}  # fmt: skip
_SUFFIXES: Final = {"scripts": {".lua"}, "console": {".js"}, "clients": {".py", ".js"}}


@dataclass(frozen=True, slots=True)
class Fault:
    """A small change of one place of a file."""

    area: str
    path: str  # from the project's root
    line: int
    before: str
    after: str
    text: str  # of the whole file with the fault

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: `{self.before}` => `{self.after}`"


def draw(area: str, seed: int) -> Iterator[Fault]:
    """Yield one fault of each line of an area, in an order by chance."""
    rng = random.Random(f"{area} {seed}")
    places: dict[tuple[str, int], list[Fault]] = {}
    for path in _files(area):
        name, text = str(path.relative_to(ROOT)), path.read_text()
        of_file = python_faults.faults(text) if path.suffix == ".py" else text_faults.faults(text, path.suffix)
        for line, before, after, changed in of_file:
            places.setdefault((name, line), []).append(Fault(area, name, line, before, after, changed))
    order = sorted(places)
    rng.shuffle(order)
    for place in order:
        yield rng.choice(places[place])


def _files(area: str) -> list[Path]:
    roots = [ROOT / root for root in AREAS[area]]
    found = {path for root in roots for path in ([root] if root.is_file() else root.rglob("*"))}
    return sorted(path for path in found if path.suffix in _SUFFIXES.get(area, {".py"}))
