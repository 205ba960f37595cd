"""``relay up``: runs a whole relay on this machine, until Ctrl-C."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import click
from rich.console import Group, RenderableType
from rich.text import Text

from relay.cli.output import NotShown, Screen, as_json, safe, screened
from relay.cli.parameters import data_dir
from relay.errors import BadParameter, Unavailable
from relay.store.backups.epoch import is_fenced
from relay.store.server.errors import FENCED_SENTENCE
from relay.text.hosts import LOOPBACK
from relay.up import processes
from relay.up.embedded import FSYNC
from relay.up.kept_settings import settings_in_words
from relay.up.local import LaunchPlan, LocalRelay, api_processes, workers_of_a_group
from relay.up.log_file import LogTail, last_lines
from relay.up.restarts import RestartLog
from relay.up.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


_PORT: Final = click.IntRange(0, 65535)
_MAX_PROCESSES: Final = 64
#: How long, in seconds, a worker may take beyond RELAY_STOP_TIMEOUT before it is killed.
_STOP_MARGIN_S: Final = 10.0


@click.command(short_help="Start everything on this machine.")
@click.option(
    "--port", type=_PORT, default=processes.API_PORT, show_default=True, help="Port of the API; 0: any free one."
)
@click.option(
    "--flower-port",
    type=_PORT,
    default=processes.FLOWER_PORT,
    show_default=True,
    help="Port of Flower; 0: any free one.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, _MAX_PROCESSES),
    default=workers_of_a_group,
    show_default="one for every two processors, at most 4",
    help="Worker processes for each lane group.",
)
@click.option(
    "--api",
    type=click.IntRange(1, _MAX_PROCESSES),
    default=api_processes,
    show_default="one for every two processors, at most 4",
    help="API processes, all on the one port (Linux only).",
)
@click.option(
    "--fsync",
    type=click.Choice(FSYNC),
    default=FSYNC[0],
    show_default=True,
    help="When the embedded server's file is safe on disk: before each answer, or within a second.",
)
@click.option(
    "--cluster",
    is_flag=True,
    help="Keep the records on a cluster of three embedded servers with a replica each; the data directory keeps it.",
)
@click.option("--demo", is_flag=True, help="Also register a sample webhook on loopback and trigger it, for real.")
@click.option("--traffic", is_flag=True, help="With --demo: also make a few calls a second, some of which fail.")
@click.option("--verbose", is_flag=True, help="Show the logs of the processes here, too.")
@screened
def up(screen: Screen, *, verbose: bool, **asked: Any) -> None:
    """Start API, workers and Flower on an embedded Valkey (or on RELAY_REDIS_URL, where that is set).

    Processes that die are started again; Ctrl-C ends them all, a second Ctrl-C at once. Its settings are
    in relay.env in the data directory, where every other command finds them.
    """
    plan = LaunchPlan(**asked)
    if plan.traffic and not plan.demo:
        raise BadParameter("--traffic is traffic of the demo: give --demo as well.")
    relay = LocalRelay.prepare(data_dir(), plan)
    screen.note(f"Starting; data directory {relay.directory.path}")
    if relay.kept_settings:
        screen.note("Taken from relay.env of the last start, and not set in this environment (set one to change it):")
        for line in settings_in_words(relay.kept_settings):
            screen.note(f"  {safe(line)}")
    stop_s = relay.settings.stop_timeout_s + _STOP_MARGIN_S
    restarts = RestartLog(relay.directory)
    with Supervisor(screen.note, stop_s, restarts.note) as supervisor:
        try:
            _run(screen, relay, supervisor, restarts, LogTail(relay.directory.logs) if verbose else None)
        except Unavailable:
            if not supervisor.ending:  # otherwise it was stopped before it was ready, which is not a failure
                raise
        finally:
            for child in supervisor.down():
                _show_log(screen, child.log)
            screen.note("Stopping the processes (Ctrl-C again: at once)")


def _run(screen: Screen, relay: LocalRelay, supervisor: Supervisor, restarts: RestartLog, tail: LogTail | None) -> None:
    relay.start(supervisor)
    if relay.wait(supervisor):
        demo = _run_demo(relay, supervisor)
        try:
            _say_ready(screen, relay, demo)
        except (NotShown, OSError):  # it is ready all the same
            screen.note(f"Ready, but the output cannot be written: the addresses are in {relay.directory.env_file}.")
    while not supervisor.ending:
        supervisor.iterate()
        restarts.save()
        for name, line in tail.lines() if tail else ():
            screen.note(f"{name:<20} | {line}")


def _run_demo(relay: LocalRelay, supervisor: Supervisor) -> dict[str, Any] | None:
    plan = relay.plan
    if relay.demo_port is None:
        return None
    from relay.up.demo import KEY_FILE, run_demo  # noqa: PLC0415 - only the demo has to load this

    demo = run_demo(relay.settings, relay.directory, relay.demo_port, traffic=plan.traffic)
    if plan.traffic:
        relay.start_traffic(supervisor, relay.directory.path / KEY_FILE)
    return demo


def _say_ready(screen: Screen, relay: LocalRelay, demo: dict[str, Any] | None) -> None:
    settings, directory = relay.settings, relay.directory
    value: dict[str, Any] = {
        "apiUrl": settings.api_url,
        "apiProcesses": relay.plan.api,
        "consoleUrl": settings.api_url + "/console",
        "flowerUrl": settings.flower_url,
        "dataDir": str(directory.path),
    }
    if cluster := relay.servers.cluster:
        value["storeServers"] = [f"{LOOPBACK}:{server.port}" for server in cluster.servers]
    auth = f"user:password is RELAY_FLOWER_AUTH in {directory.env_file}"
    if demo and settings.flower_auth:
        value |= demo
        auth = f"user:password {settings.flower_auth.reveal()}"
    screen.show(value, lambda: Group(*_pictures(value)))
    if not screen.is_json:  # whole lines, however narrow the terminal is
        click.echo("\n".join(_addresses(value, auth)))
        with suppress(Unavailable):
            if is_fenced(settings.store_url.reveal()):
                click.echo(f"\n{FENCED_SENTENCE}")
        click.echo("\nCtrl-C stops it.\nready")


def _pictures(value: dict[str, Any]) -> Iterator[RenderableType]:
    """Yield the demo's answer and record, if there was a demo."""
    if "answer" in value:
        yield Text("The sample webhook demo-echo was triggered over HTTP. The plugin's answer, secrets masked:\n")
        yield Text(as_json(value["answer"]))
        yield Text("\nThe record that it left:\n")
        yield Text(as_json(value["record"]))


def _addresses(value: dict[str, Any], flower_auth: str) -> Iterator[str]:
    if "curl" in value:
        yield f"\nTo send it again:\n\n{value['curl']}\n"
    sign_in = f"sign in with {value['key']}" if "key" in value else "sign in with a key of the scope operate"
    yield f"API      {value['apiUrl']}  (documentation: {value['apiUrl']}/docs)"
    if value["apiProcesses"] > 1:
        yield f"         {value['apiProcesses']} processes share this port; each is restarted on its own"
    if "storeServers" in value:
        yield f"Store    a cluster, three primaries with a replica each: {', '.join(value['storeServers'])}"
        yield "         each is started again when it dies; `relay partitions show` says what is where"
    yield f"Console  {value['consoleUrl']}  ({sign_in})"
    yield f"Flower   {value['flowerUrl']}  ({flower_auth})"


def _show_log(screen: Screen, log: Path) -> None:
    for line in last_lines(log):
        screen.note(f"{log.stem:<20} | {line}")
