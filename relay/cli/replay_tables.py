"""Draws replay jobs and plans for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rich.console import Group, RenderableType

from relay.cli.output import bad, facts_of, lines_of, table_of
from relay.cli.row_tables import groups_picture, rows_picture
from relay.store.replays.jobs import Skip

if TYPE_CHECKING:
    from collections.abc import Iterable


_LEFT_OUT: Final = {Skip.REPLAYED: "were already replayed with success", Skip.BEING_REPLAYED: "are being replayed"}
_COLUMNS: Final = ("replay id", "state", "delivered", "failed", "skipped")


def jobs_picture(jobs: Iterable[dict[str, Any]]) -> RenderableType:
    """Draw jobs, one a line."""
    return table_of(_COLUMNS, (_line(job) for job in jobs))


def job_picture(value: dict[str, Any]) -> RenderableType:
    """Draw one job, with the reasons for which it skipped invocations."""
    facts = value | {"filter": _in_words(value["filter"])}
    return Group(facts_of((name, each) for name, each in facts.items() if name != "skippedReasons"), *_reasons(value))


def plan_picture(value: dict[str, Any]) -> RenderableType:
    """Draw a plan: how many, which, and why some would be skipped."""
    estimated_s = value["estimatedSeconds"]
    facts = [("plan id", value["planId"]), ("matched", value["matched"]), ("to be skipped", value["skipped"])]
    if estimated_s is not None:
        facts.append(("takes about", f"{max(estimated_s, 1):.0f} s"))
    breakdown = (lines_of("what matches"), groups_picture(value["breakdown"])) if value["breakdown"] else ()
    sample = (lines_of("the newest"), rows_picture(value["sample"])) if value["sample"] else ()
    why = (lines_of(_left_out(value)),) if not value["matched"] or value["leftOut"] else ()
    return Group(facts_of(facts), *why, *_reasons(value), *breakdown, *sample)


def _left_out(value: dict[str, Any]) -> str:
    """Say why calls that ended so are not in a plan."""
    said = [f"{count} {_LEFT_OUT[why]}" for why, count in value["leftOut"].items()]
    return f"Not matched: {', '.join(said)}." if said else "No call matches."


def _in_words(chosen: dict[str, Any] | None) -> str:
    """Say which invocations a job's filter has chosen; None if they were named one by one."""
    if chosen is None:
        return "these reference ids"
    words = {name: each if isinstance(each, list) else [each] for name, each in chosen.items()}
    return ", ".join(f"{name} {' or '.join(map(str, each))}".removesuffix(" True") for name, each in words.items())


def _reasons(value: dict[str, Any]) -> tuple[RenderableType, ...]:
    reasons = value["skippedReasons"]
    return (table_of(("skipped because", "count"), reasons.items()),) if reasons else ()


def _line(job: dict[str, Any]) -> list[object]:
    failed = bad(job["failed"]) if job["failed"] else job["failed"]
    return [job["replayId"], job["state"] or "damaged", job["delivered"], failed, job["skipped"]]
