"""``relay replay``: repeats failed invocations, as jobs that workers run."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import IO, TYPE_CHECKING, Any, Final

import click

from relay.audit.entry import Act
from relay.cli.command import acting, command_runtime
from relay.cli.completion import references_like, replays_like
from relay.cli.filters import filter_options, read_replay, take_filter
from relay.cli.id_file import IdFile
from relay.cli.names import check_filter, check_plugin, find_replay
from relay.cli.output import EXIT_FAILED, Screen, facts_of
from relay.cli.parameters import CALLER, plugin_option, together
from relay.cli.progress import follow
from relay.cli.replay_tables import job_picture, jobs_picture, plan_picture
from relay.errors import Conflict, NotFound, RelayError
from relay.replay.planning import MAX_COUNT, MAX_RATE, MIN_RATE, Replays
from relay.store.ledger.listing import Filter
from relay.store.replays.jobs import ReplayJob, ReplayState
from relay.store.replays.runs import Request
from relay.store.server.errors import adding_sentence
from relay.text.quantities import read_rate
from relay.views import job_of, plain_number, plan_of, row_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay.wiring.runtime import Runtime

MAX_JOBS: Final = 1_000
_REPLAY: Final = together(
    click.argument("replay_id", metavar="REPLAY", type=read_replay, shell_complete=replays_like),
    plugin_option(required=False),
)


def _read_rate(text: str) -> float:
    """Return how many calls a second ``n``, ``n/s`` or ``n/m`` are; raise a usage error if it is out of range."""
    try:
        if "/" in text:
            rate = read_rate(text)
            a_second = rate.count / rate.period_s
        else:
            a_second = float(text)
    except ValueError:
        raise click.BadParameter("must be a number per second, or a rate such as 20/s or 600/m") from None
    if not MIN_RATE <= a_second <= MAX_RATE:
        raise click.BadParameter(f"must be at least {MIN_RATE:g} and at most {MAX_RATE:g} a second")
    return a_second


#: Which invocations, and how, for `_take_request`.
_OPTIONS: Final = together(
    filter_options,
    click.option("--rate", type=_read_rate, metavar="RATE", help="Calls per second (20, 600/m) [default: no limit]."),
    click.option("--max", "most", type=click.IntRange(1, MAX_COUNT), help="Take at most this many, the newest first."),
    click.option("--include-uncertain", is_flag=True, help="Include calls that may have been executed already."),
    click.option("--from-file", type=click.File("r"), help="File of reference ids, one per line; - is stdin."),
)


@click.group()
def replay() -> None:
    """Plan, start, follow, pause, resume and cancel replays."""


@replay.command()
@plugin_option()
@_OPTIONS
@acting(Act.REPLAY_PLAN)
def plan(screen: Screen, *, plugin: str, **options: Any) -> None:
    """Show what a replay would send, and what it would skip and why. Nothing is started.

    Without --state it takes what failed. The plan has an id, which `relay replay start` takes for a day.
    """
    runtime = command_runtime()
    request = _take_request(runtime, plugin, options)
    check_filter(runtime, plugin, request.filter or Filter())
    runtime.audit_writer.write(Act.REPLAY_PLAN, plugin=plugin)
    made = runtime.replays.plan(plugin, request)
    value = {
        **plan_of(made),
        "sample": [row_of(each) for each in made.sample],
        "estimatedSeconds": plain_number(made.estimated_s),
    }
    screen.show(value, lambda: plan_picture(value))
    for webhook_id in sorted({group.webhook_id for group in made.breakdown}):
        _warn_of_stops(screen, runtime, plugin, webhook_id)


@replay.command()
@click.argument("ids", metavar="[PLAN | REF...]", nargs=-1, shell_complete=references_like)
@plugin_option()
@_OPTIONS
@click.option("--follow", "followed", is_flag=True, help="Wait until the replay has ended.")
@acting(Act.REPLAY_START)
def start(screen: Screen, *, ids: tuple[str, ...], plugin: str, followed: bool, **options: Any) -> None:
    """Start a replay. It takes what the options select, these reference ids, or PLAN, an id from `relay replay plan`.

    Workers run it. Without --state it takes what failed.
    """
    runtime = command_runtime()
    request = _take_request(runtime, plugin, options)
    check_filter(runtime, plugin, request.filter or Filter())
    replays = runtime.replays
    job = _start(replays, plugin, ids, request) if ids else replays.start(plugin, request, caller=CALLER)
    if followed:
        _follow(screen, replays, job)
        return
    value = {"replayId": job.replay_id, "state": job.state, "matched": job.matched}
    screen.show(value, lambda: facts_of(value.items()))


@replay.command()
@_REPLAY
@click.option("--follow", "followed", is_flag=True, help="Wait until it has ended; the default on a terminal.")
@click.option("--once", is_flag=True, help="Show it once, even on a terminal.")
@acting(Act.LIST)
def status(screen: Screen, *, replay_id: str, plugin: str | None, followed: bool, once: bool) -> None:
    """Show the progress of a replay. On a terminal, follow it until it has ended; Ctrl-C leaves it running."""
    runtime = command_runtime()
    job = find_replay(runtime, plugin, replay_id)
    runtime.audit_writer.write(Act.LIST, plugin=job.plugin, subject=replay_id)
    on_terminal = not screen.is_json and sys.stdout.isatty() and sys.stderr.isatty()
    if (followed or on_terminal) and not once and not job.over:
        _follow(screen, runtime.replays, job)
    else:
        _show(screen, job)


@replay.command("list")
@plugin_option()
@click.option(
    "--limit", type=click.IntRange(1, MAX_JOBS), default=50, show_default=True, help="Show at most this many."
)
@acting(Act.LIST)
def list_replays(screen: Screen, *, plugin: str, limit: int) -> None:
    """List a plugin's replays, newest first."""
    runtime = command_runtime()
    check_plugin(runtime, plugin)
    runtime.audit_writer.write(Act.LIST, plugin=plugin, subject="replays")
    jobs = [job_of(job) for job in runtime.replays.list(plugin, limit=limit)]
    screen.show(jobs, lambda: jobs_picture(jobs))


@replay.command()
@_REPLAY
@acting(Act.REPLAY_PAUSE, noted=(Conflict,))
def pause(screen: Screen, *, replay_id: str, plugin: str | None) -> None:
    """Pause a replay: nothing more is sent until it is resumed."""
    _steer(screen, replay_id, plugin, Replays.pause)


@replay.command()
@_REPLAY
@acting(Act.REPLAY_RESUME, noted=(Conflict,))
def resume(screen: Screen, *, replay_id: str, plugin: str | None) -> None:
    """Resume a paused replay."""
    _steer(screen, replay_id, plugin, Replays.resume)


@replay.command()
@_REPLAY
@acting(Act.REPLAY_CANCEL, noted=(Conflict,))
def cancel(screen: Screen, *, replay_id: str, plugin: str | None) -> None:
    """Cancel a replay. Calls that it made but has not sent are cancelled, the rest is skipped."""
    _steer(screen, replay_id, plugin, Replays.cancel)


def _take_request(runtime: Runtime, plugin: str, options: dict[str, Any]) -> Request:
    """Return the request that the options of `_OPTIONS` describe, and remove these from ``options``."""
    wanted = take_filter(runtime, plugin, options)
    source: IO[str] | None = options.pop("from_file")
    if source is not None and wanted != Filter():
        raise click.UsageError("--from-file already names the invocations: filters cannot be added.")
    return Request(
        filter=wanted if source is None else None,
        reference_ids=None if source is None else IdFile(source),
        include_uncertain=options.pop("include_uncertain"),
        max=options.pop("most"),
        rate_per_second=options.pop("rate"),
    )


def _start(replays: Replays, plugin: str, ids: tuple[str, ...], request: Request) -> ReplayJob:
    """Start a replay of the one plan, or of the invocations, that ``ids`` name."""
    if request.reference_ids is not None or request.filter != Filter():
        raise click.UsageError("The ids already name what is to be replayed: filters and --from-file cannot be added.")
    if len(ids) == 1 and replays.is_plan(plugin, ids[0]):
        if request != Request(filter=Filter(), rate_per_second=request.rate_per_second):
            raise click.UsageError("A plan already holds the other options: only --rate can be given with its id.")
        return replays.start_planned(plugin, ids[0], caller=CALLER, rate_per_second=request.rate_per_second)
    unknown = replays.unknown(plugin, ids)
    if unknown:
        raise NotFound(f"`{unknown[0]}` is neither a plan nor an invocation of plugin `{plugin}`.")
    return replays.start(plugin, replace(request, filter=None, reference_ids=ids), caller=CALLER)


def _warn_of_stops(screen: Screen, runtime: Runtime, plugin: str, webhook_id: str) -> None:
    """Warn of an open breaker and of a pause, which would keep every call of a replay from being sent."""
    traffic = runtime.policies.traffic(plugin, webhook_id)
    if traffic.breaker == "open":
        screen.note(
            f"The breaker of {webhook_id} is open: for now its calls end as breaker_open or are tried later. "
            f"To send them: relay webhooks close-breaker {webhook_id} --plugin {plugin}"
        )
    if traffic.paused:
        screen.note(f"{webhook_id} is paused, so its calls wait: relay webhooks resume {webhook_id} --plugin {plugin}")


def _steer(
    screen: Screen, replay_id: str, plugin: str | None, action: Callable[[Replays, str, str], ReplayJob]
) -> None:
    runtime = command_runtime()
    job = find_replay(runtime, plugin, replay_id)
    _show(screen, action(runtime.replays, job.plugin, replay_id))


def _follow(screen: Screen, replays: Replays, job: ReplayJob) -> None:
    """Wait until the job is over, and show it; exit with a failure if it was cancelled."""
    draws = not screen.is_json and sys.stderr.isatty()
    goes_on = f"The replay goes on: relay replay status {job.replay_id}"
    try:
        with adding_sentence(goes_on, RelayError):
            job = follow(lambda: replays.get(job.plugin, job.replay_id), draws=draws)
    except KeyboardInterrupt:
        screen.note(goes_on)
        return
    _show(screen, job)
    if job.state is ReplayState.CANCELLED:
        raise click.exceptions.Exit(EXIT_FAILED)


def _show(screen: Screen, job: ReplayJob) -> None:
    value = job_of(job)
    screen.show(value, lambda: job_picture(value))
