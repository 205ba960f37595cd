"""Revisions of webhooks as the store has them, and the results of applying a registration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from relay.registration import Shape

Change = Literal["created", "changed", "unchanged"]


def limits_of(shape: Shape) -> tuple[str, str, str, str]:
    """Return the limits that scripts enforce, in the form of a webhook's policy (``lua/lib/policy.lua``)."""
    rate = ("", "") if shape.rate is None else (str(shape.rate.count), str(shape.rate.period_s * 1000))
    return str(shape.concurrency or ""), *rate, "" if shape.retry is None else "1"


@dataclass(frozen=True, slots=True)
class Applied:
    """The result of applying one registration."""

    webhook_id: str
    revision: int
    change: Change


@dataclass(frozen=True, slots=True)
class StoredRevision:
    """One revision as the store has it, without the target."""

    number: int
    shape: Shape
    shape_json: bytes  # as stored; the target is sealed for an owner that contains it
    created_at_ms: int
    by: str  # who registered it, as in audit entries; empty if that is not known
    stamp: str  # a random text that no other revision ever had, even under the same number


@dataclass(frozen=True, slots=True)
class PlannedRevision:
    """A registration to apply; ``arguments`` are those of ``lua/registry/apply_webhooks.lua``."""

    applied: Applied
    arguments: tuple[bytes | str, ...]
    decided: str = ""
