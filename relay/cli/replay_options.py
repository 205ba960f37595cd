"""The options of a replay: which invocations, and how."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any

import click

from relay.cli.filters import filter_options, take_filter
from relay.cli.id_file import IdFile
from relay.replay.planning import MAX_RATE, MIN_RATE, Request
from relay.store.ledger.listing import Filter
from relay.text.quantities import read_rate

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay.wiring.runtime import Runtime


class RateType(click.ParamType[float]):
    """A rate: a number a second, or ``n/s`` or ``n/m``."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the rate per second; raise a usage error if it is malformed or out of range."""
        try:
            if isinstance(value, str) and "/" in value:
                rate = read_rate(value)
                a_second = rate.count / rate.period_s
            else:
                a_second = float(value)
        except ValueError:
            self.fail("must be a number per second, or a rate such as 20/s or 600/m", param, ctx)
        if not MIN_RATE <= a_second <= MAX_RATE:
            self.fail(f"must be at least {MIN_RATE:g} and at most {MAX_RATE:g} a second", param, ctx)
        return a_second


def replay_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a replay (a filter or a file of ids, and how to replay them), for `take_request`."""
    for option in (
        click.option("--from-file", type=click.File("r"), help="File of reference ids, one a line; - is stdin."),
        click.option("--include-uncertain", is_flag=True, help="Include calls that may have been executed already."),
        click.option("--max", "most", type=click.IntRange(1), help="Take at most this many, the newest first."),
        click.option("--rate", type=RateType(), help="Calls per second (20, 600/m) [default: no limit]."),
    ):
        function = option(function)
    return filter_options(function)


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
