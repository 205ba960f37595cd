"""The options that select invocations, the same for listings and replays."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any, Final

import click

from relay.cli.completion import keys_like, replays_like, webhooks_like
from relay.cli.parameters import IdType
from relay.domain.invocation import Outcome, State
from relay.domain.reference_id import reference_time_ms
from relay.request.subject import SUBJECT_RULE, is_subject
from relay.store.ledger.listing import CALLER, Filter
from relay.text.timestamps import read_time

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay.domain.invocation import Invocation
    from relay.wiring.runtime import Runtime

_STATUS: Final = re.compile(r"(?:0|[1-9][0-9]{2})\Z", re.ASCII)
_CLASSES: Final = frozenset({"1xx", "2xx", "3xx", "4xx", "5xx"})
_OR: Final = "May be given several times, to match any of them."


class StatusType(click.ParamType[int | str]):
    """A status, or a class of them."""

    name = "status"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """Return the number, or the class as it is."""
        if value in _CLASSES:
            return str(value)
        if not _STATUS.match(str(value)):
            self.fail("a status is 0 or 100 to 999, or a class such as 5xx", param, ctx)
        return int(value)


class TimeType(click.ParamType[int]):
    """A time, or how long ago."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return milliseconds since the epoch."""
        if isinstance(value, int):
            return value
        try:
            return read_time(value, int(time.time() * 1000))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class ReferenceType(click.ParamType[str]):
    """A reference id, or the id of a replay job."""

    name = "ref"

    def __init__(self, kind: str = "a reference id") -> None:
        self._kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the id itself."""
        if reference_time_ms(value) is None:
            self.fail(f"{value!r} is not {self._kind}", param, ctx)
        return str(value)


#: The id of a replay job.
REPLAY_TYPE: Final = ReferenceType("the id of a replay")


class CallerType(click.ParamType[str]):
    """The id of an API key, or ``cli``."""

    name = "key id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the id itself."""
        if not CALLER.match(value):
            self.fail("is neither the id of an API key (`relay keys list`) nor cli", param, ctx)
        return str(value)


class SubjectType(click.ParamType[str]):
    """Whom a trigger concerns."""

    name = "subject"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the subject itself."""
        if not is_subject(value):
            self.fail(SUBJECT_RULE, param, ctx)
        return str(value)


def filter_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add every option of a filter, in the order of the API's parameters, for `take_filter`."""
    words = [str(outcome) for outcome in Outcome]
    states = click.Choice([str(state) for state in State])
    for option in reversed(
        (
            click.option(
                "--webhook", "webhook_id", type=IdType(), shell_complete=webhooks_like, help="Only this webhook's."
            ),
            click.option(
                "--state",
                "states",
                type=states,
                metavar="STATE",
                multiple=True,
                help=f"Only in this state. {_OR}",
            ),
            click.option("--status", type=StatusType(), multiple=True, help=f"Only with this status (503, 5xx). {_OR}"),
            click.option("--outcome", type=click.Choice(words), metavar="OUTCOME", help="Only with this outcome."),
            click.option("--failed", is_flag=True, help="Only what ended in error, unless a replay succeeded."),
            click.option("--with-replayed", is_flag=True, help="With --failed: also if a replay succeeded."),
            click.option(
                "--caller", type=CallerType(), shell_complete=keys_like, help="Only what this API key triggered."
            ),
            click.option("--chain", type=ReferenceType(), help="Only steps of this chain."),
            click.option(
                "--replay",
                "replay_id",
                type=REPLAY_TYPE,
                shell_complete=replays_like,
                help="Only what this replay job made.",
            ),
            click.option(
                "--subject", type=SubjectType(), help="Only what concerns this subject, such as a patient's id."
            ),
            click.option(
                "--since", "since_ms", type=TimeType(), help="Created since this time, or since 15m, 2h, 7d ago."
            ),
            click.option("--until", "until_ms", type=TimeType(), help="Created until this time."),
        )
    ):
        function = option(function)
    return function


def take_filter(runtime: Runtime, plugin: str, options: dict[str, Any]) -> Filter:
    """Return the filter that the options of `filter_options` describe, and remove these from ``options``."""
    subject = options.pop("subject")
    outcome, failed, with_replayed = (options.pop(name) for name in ("outcome", "failed", "with_replayed"))
    if with_replayed and not failed:
        raise click.UsageError("--with-replayed needs --failed: give both.")
    return Filter(
        webhook_id=options.pop("webhook_id"),
        states=frozenset(State(word) for word in options.pop("states")),
        status=tuple(options.pop("status")),
        outcome=Outcome(outcome) if outcome else None,
        error=True if failed else None,
        unreplayed=failed and not with_replayed,
        caller=options.pop("caller"),
        chain=options.pop("chain"),
        replay=options.pop("replay_id"),
        subject=None if subject is None else runtime.subject_hashes.known(plugin, subject),
        since_ms=options.pop("since_ms"),
        until_ms=options.pop("until_ms"),
    )


def matches_end(wanted: Filter, invocation: Invocation) -> bool:
    """Return whether an invocation has a state, status, outcome and error that match; the rest is not compared."""
    status = invocation.status
    same = status is not None and any(each in {status, f"{status // 100}xx"} for each in wanted.status)
    return (
        (not wanted.states or invocation.state in wanted.states)
        and (not wanted.status or same)
        and wanted.outcome in {None, invocation.outcome}
        and wanted.error in {None, invocation.error}
    )
