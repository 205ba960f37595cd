"""Shows on a terminal how far something is: a replay job until it is over, or any work with a bar."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn

from relay.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay.store.replays.jobs import ReplayJob

_LOOK_S: Final = 0.5  # between two looks at the job
_RATE_WINDOW_S: Final = 30.0


def counting(what: str) -> Progress:
    """Make a progress of work that is counted, for a terminal on standard error."""
    return progress_with(TextColumn(what), BarColumn(), MofNCompleteColumn())


def progress_with(*columns: ProgressColumn) -> Progress:
    """Make a progress with these columns, which is drawn if standard error is a terminal."""
    console = Console(stderr=True, markup=False, highlight=False, emoji=False)
    return Progress(*columns, console=console, disable=not console.is_terminal)


def follow(read: Callable[[], ReplayJob], *, draws: bool) -> ReplayJob:
    """Wait until the job is over, and return it; with ``draws``, draw it on standard error.

    Ctrl-C is raised, and does not stop the job.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[ends]}"),
    )
    console = Console(stderr=True, markup=False, highlight=False, emoji=False)
    with Progress(*columns, console=console, speed_estimate_period=_RATE_WINDOW_S, disable=not draws) as progress:
        job = read()
        bar = progress.add_task("replay", total=job.matched, rate="", ends="")
        while True:
            ended = job.delivered + job.failed + job.skipped
            speed = progress.tasks[0].finished_speed or progress.tasks[0].speed
            progress.update(
                bar,
                total=job.matched,
                completed=ended,
                description=f"{job.replay_id[:8]} {job.state}",
                rate="" if speed is None else f"{speed:.1f}/s",
                ends=ends_of(job),
            )
            if job.over:
                return job
            job = _look_again(read, job)


def _look_again(read: Callable[[], ReplayJob], job: ReplayJob) -> ReplayJob:
    """Read the job again after a pause; return it unchanged while the store is away, which may come back."""
    time.sleep(_LOOK_S)
    try:
        return read()
    except Unavailable:
        return job


def ends_of(job: ReplayJob) -> str:
    """Return in words how the job's invocations have ended so far."""
    return f"{job.delivered} delivered, {job.failed} failed, {job.skipped} skipped"
