"""The options of a replay: which invocations, and how."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any, Final

import click

from relay.cli.filters import filter_options, take_filter
from relay.cli.id_file import IdFile
from relay.cli.parameters import together
from relay.replay.planning import MAX_RATE, MIN_RATE, Request
from relay.store.ledger.listing import Filter
from relay.text.quantities import read_rate

if TYPE_CHECKING:
    from relay.wiring.runtime import Runtime


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


#: The options of a replay (a filter or a file of ids, and how to replay them), for `take_request`.
replay_options: Final = together(
    filter_options,
    click.option("--rate", type=_read_rate, metavar="RATE", help="Calls per second (20, 600/m) [default: no limit]."),
    click.option("--max", "most", type=click.IntRange(1), help="Take at most this many, the newest first."),
    click.option("--include-uncertain", is_flag=True, help="Include calls that may have been executed already."),
    click.option("--from-file", type=click.File("r"), help="File of reference ids, one a line; - is stdin."),
)


def take_request(runtime: Runtime, plugin: str, options: dict[str, Any]) -> Request:
    """Return the request that the options of `replay_options` describe, and remove these from ``options``."""
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
