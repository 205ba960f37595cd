"""The options that select invocations, the same for listings and replays."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any, Final

import click

from relay.cli.completion import keys_like, replays_like, webhooks_like
from relay.cli.parameters import read_id, together
from relay.domain.invocation import Invocation, Outcome, State
from relay.domain.reference_id import reference_time_ms
from relay.request.directions import SUBJECT_RULE, is_subject
from relay.store.ledger.listing import CALLER, Filter
from relay.text.timestamps import read_time

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay.wiring.runtime import Runtime

_STATUS: Final = re.compile(r"(?:0|[1-9][0-9]{2})\Z", re.ASCII)
_CLASSES: Final = frozenset({"1xx", "2xx", "3xx", "4xx", "5xx"})
_STATE: Final = click.Choice([str(state) for state in State])
_OUTCOME: Final = click.Choice([str(outcome) for outcome in Outcome])
_OR: Final = "Can be repeated, to match any of them."


def _read_status(text: str) -> int | str:
    """Return a status, or a class of them as it is."""
    if text in _CLASSES:
        return text
    if not _STATUS.match(text):
        raise click.BadParameter("a status is 0 or 100 to 999, or a class such as 5xx")
    return int(text)


def read_time_ms(text: str) -> int:
    """Return a time, or how long ago it was, in milliseconds since the epoch."""
    try:
        return read_time(text, int(time.time() * 1000))
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def read_reference(text: str, kind: str = "a reference id") -> str:
    """Return a reference id; raise a usage error if it is malformed."""
    if reference_time_ms(text) is None:
        raise click.BadParameter(f"{text!r} is not {kind}")
    return text


def read_replay(text: str) -> str:
    """Return the id of a replay job; raise a usage error if it is malformed."""
    return read_reference(text, "the id of a replay")


def _read_caller(text: str) -> str:
    """Return the id of an API key, or ``cli``."""
    if not CALLER.match(text):
        raise click.BadParameter("is neither the id of an API key (`relay keys list`) nor cli")
    return text


def _read_subject(text: str) -> str:
    """Return whom a trigger concerns."""
    if not is_subject(text):
        raise click.BadParameter(SUBJECT_RULE)
    return text


def subject_option(about: str) -> Callable[..., Any]:
    """Make the option ``--subject``: whom a trigger concerns."""
    return click.option("--subject", type=_read_subject, metavar="SUBJECT", help=about)


def time_options(since: str, until: str) -> Callable[..., Any]:
    """Make the options ``--since`` and ``--until``."""
    return together(
        click.option("--since", "since_ms", type=read_time_ms, metavar="TIME", help=since),
        click.option("--until", "until_ms", type=read_time_ms, metavar="TIME", help=until),
    )


#: Every option of a filter, in the order of the API's parameters, for `take_filter`.
filter_options: Final = together(
    click.option(
        "--webhook", "webhook_id", type=read_id, metavar="ID", shell_complete=webhooks_like, help="Only this webhook's."
    ),
    click.option(
        "--state",
        "states",
        type=_STATE,
        metavar="STATE",
        multiple=True,
        help=f"Only in this state. {_OR}",
    ),
    click.option(
        "--status", type=_read_status, metavar="STATUS", multiple=True, help=f"Only with this status (503, 5xx). {_OR}"
    ),
    click.option("--outcome", type=_OUTCOME, metavar="OUTCOME", help="Only with this outcome."),
    click.option("--failed", is_flag=True, help="Only failed ones, unless a replay succeeded."),
    click.option("--with-replayed", is_flag=True, help="With --failed: also if a replay succeeded."),
    click.option(
        "--caller",
        type=_read_caller,
        metavar="KEY ID",
        shell_complete=keys_like,
        help="Only what this API key triggered.",
    ),
    click.option("--chain", type=read_reference, metavar="REF", help="Only steps of this chain."),
    click.option(
        "--replay",
        "replay_id",
        type=read_replay,
        metavar="REF",
        shell_complete=replays_like,
        help="Only what this replay job made.",
    ),
    subject_option("Only what concerns this subject, such as a patient's id."),
    time_options("Created since this time, or since 15m, 2h, 7d ago.", "Created until this time."),
)
#: Options that a filter takes as they are.
_TAKEN: Final = ("webhook_id", "status", "caller", "chain", "since_ms", "until_ms")


def take_filter(runtime: Runtime, plugin: str, options: dict[str, Any]) -> Filter:
    """Return the filter that the options of `filter_options` describe, and remove these from ``options``."""
    subject = options.pop("subject")
    outcome, failed, with_replayed = (options.pop(name) for name in ("outcome", "failed", "with_replayed"))
    if with_replayed and not failed:
        raise click.UsageError("--with-replayed needs --failed: give both.")
    return Filter(
        states=frozenset(State(word) for word in options.pop("states")),
        outcome=Outcome(outcome) if outcome else None,
        error=True if failed else None,
        unreplayed=failed and not with_replayed,
        replay=options.pop("replay_id"),
        subject=None if subject is None else runtime.subject_hashes.known(plugin, subject),
        **{name: options.pop(name) for name in _TAKEN},
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
