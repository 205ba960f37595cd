"""The results of a sweep: series of points, and whether its goals were met."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Goal:
    """A sweep's target, and the value found; ``met`` is None if there was nothing to compare."""

    wanted: str
    found: str
    met: bool | None


@dataclass(slots=True)
class Sweep:
    """Points by series; ``x`` and ``y`` say what they measure. ``labels`` name points that are not numbers."""

    name: str
    title: str
    x: str
    y: str
    series: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    goals: list[Goal] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)  # for x = 0, 1, ...

    def add(self, series: str, x: float, y: float) -> None:
        self.series.setdefault(series, []).append((x, round(y, 2)))

    def value(self, series: str, x: float) -> float | None:
        """Return the point of a series at ``x``."""
        return dict(self.series.get(series, ())).get(x)

    def want(self, wanted: str, found: float | None, at_least: float, unit: str = "x") -> None:
        """Add a goal that a number should reach."""
        if found is None:
            self.goals.append(Goal(wanted, "nothing", None))
        else:
            self.goals.append(Goal(wanted, f"{found:.2f} {unit}", found >= at_least))

    def want_at_most(self, wanted: str, found: float, at_most: float, unit: str) -> None:
        """Add a goal that a number should not exceed."""
        self.goals.append(Goal(wanted, f"{found:.1f} {unit}", found <= at_most))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
