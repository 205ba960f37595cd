"""Describes the operations with which operators watch traffic and steer webhooks."""

from __future__ import annotations

from typing import Any, Final

from marshmallow import fields

from api.auth import METRICS, OPERATE
from api.queries import LanesQuery, OverviewQuery
from api.reference.members import flag, maybe, one, schema, several, text, time, whole, word
from api.reference.operation import DocumentedAnswer, Operation, Sample
from api.reference.schemas import Group
from relay import errors
from relay.queue import LANES
from relay.store.counts.counts import ENDS
from relay.store.ledger.policies import BREAKER_STATES

Groups: Final = schema(
    "Groups",
    groups=several(Group, "Most frequent first."),
    complete=flag("False if there are more groups, or if only the newest invocations were counted."),
)

_ENDS: Final = schema("Ends", **{state: whole(f"How many ended `{state}`.") for state in ENDS})

_COUNTS: Final[dict[str, Any]] = {
    "accepted": whole("How many were accepted."),
    "final": one(_ENDS, "How many ended, by state."),
    "errors": whole("How many ended with `error` true."),
}

_PERCENTILE: Final = "of the time from acceptance to end; null if nothing ended with a result."

Minute: Final = schema(
    "Minute",
    start=time("When the minute began."),
    **_COUNTS,
    p50Ms=whole(f"The median {_PERCENTILE}", maybe=True),
    p95Ms=whole(f"The 95th percentile {_PERCENTILE}", maybe=True),
    p99Ms=whole(f"The 99th percentile {_PERCENTILE}", maybe=True),
)

Stats: Final = schema("Stats", buckets=several(Minute, "Oldest first."))

_Breaker: Final = schema(
    "Breaker",
    state=word("Whether calls are held back because the endpoint cannot be contacted.", BREAKER_STATES),
    failures=whole("How many calls in a row did not reach the endpoint."),
    openUntil=time("When the next call is tried.", maybe=True),
)

_SomeCounts: Final = schema("SomeCounts", **_COUNTS)

_Recent: Final = schema(
    "Recent",
    fiveMinutes=one(_SomeCounts, "The last five minutes."),
    hour=one(_SomeCounts, "The last sixty minutes."),
)

_Trend: Final = schema(
    "Trend",
    ended=several(fields.Integer(), "How many calls ended with a result in each part."),
    errors=several(fields.Integer(), "How many of these ended with `error` true."),
)

_Trends: Final = schema(
    "Trends",
    hour=one(_Trend, "The last hour, in parts of five minutes."),
    day=one(_Trend, "The last day, in parts of an hour."),
)

WebhookTraffic: Final = schema(
    "WebhookTraffic",
    webhookId=text("The webhook."),
    revision=whole("Its current revision."),
    hidden=flag("Whether it is hidden from plugins: only chains, callbacks and alerts reach it."),
    **_COUNTS,
    recent=one(_Recent, "The same counts of the last times."),
    trend=one(_Trends, "What ended when, oldest first."),
    lastErrorAt=time("The minute in which a call ended in error last, within the day.", maybe=True),
    inFlight=whole("How many of its calls are being sent."),
    parked=whole("How many of its calls may not be sent now, because it is paused or at its limits."),
    paused=flag("Whether it is paused."),
    breaker=one(_Breaker, "Its circuit breaker."),
)

TrafficReport: Final = schema(
    "TrafficReport",
    plugin=text("The key's plugin."),
    since=time("When the counts begin: 24 full hours before the current hour."),
    webhooks=several(WebhookTraffic, "In order of id."),
)

_Lane: Final = schema(
    "Lane",
    lane=text("Its name."),
    pending=whole("Accepted calls that no worker has taken yet, including parked ones."),
    oldestSeconds=maybe("How long the oldest of them has waited; null if no call waits.", fields.Float, required=True),
    workers=whole(
        "How many live worker processes serve the lane; null while the shared keys of the store do not answer.",
        maybe=True,
    ),
)

_LanePending: Final = schema(
    "LanePending",
    **{
        lane: whole(f"The most calls that waited in `{lane}` at the same time; null if unknown.", maybe=True)
        for lane in LANES
    },
)

_LanesMinute: Final = schema(
    "LanesMinute",
    start=time("When the minute began."),
    pending=one(_LanePending, "By lane."),
)

Lanes: Final = schema(
    "Lanes",
    lanes=several(_Lane, "The most urgent first."),
    minutes=several(_LanesMinute, "Only with `since`: each minute, oldest first.", required=False),
)


def _steering(action: str, name: str, summary: str, about: str) -> Operation:
    return Operation(
        id=f"{name}Webhook",
        method="POST",
        path=f"/v1/webhooks/{{webhookId}}/{action}",
        summary=summary,
        about=f"{about} Takes no body. Repeating it changes nothing.",
        scopes=OPERATE,
        answers={200: DocumentedAnswer("The webhook's traffic afterwards.", WebhookTraffic)},
        problems=(errors.WebhookNotRegistered,),
    )


OPERATIONS: Final = (
    Operation(
        id="getStats",
        path="/v1/stats",
        summary="Traffic by the minute",
        about=(
            "Every minute from `since` (an hour ago by default, at most a day ago) to the current one, oldest first, "
            "including minutes without traffic. `accepted` counts an invocation in the minute of its acceptance; "
            "`final`, `errors` and the percentiles (of the time from acceptance to end) count it in the minute of its "
            "end."
        ),
        scopes=OPERATE,
        query=OverviewQuery,
        answers={200: DocumentedAnswer("The minutes.", Stats)},
        sample=Sample(query={"webhookId": "order"}),
    ),
    Operation(
        id="getGroups",
        path="/v1/groups",
        summary="Failures by kind",
        about="Counts what failed, unless a replay has succeeded, from `since` on (a day ago by default), by webhook, "
        "outcome and status.",
        scopes=OPERATE,
        query=OverviewQuery,
        answers={200: DocumentedAnswer("At most 100 groups.", Groups)},
    ),
    Operation(
        id="getTraffic",
        path="/v1/traffic",
        summary="Traffic of each webhook",
        about="Every registered webhook, in order of id: its counts of the last day, and how its calls stand now.",
        scopes=OPERATE,
        answers={200: DocumentedAnswer("The webhooks.", TrafficReport)},
    ),
    Operation(
        id="getLanes",
        path="/v1/lanes",
        summary="Calls that wait in each lane",
        about="The lanes of the whole relay, the most urgent first. With `since`, also how many waited in each minute.",
        scopes=OPERATE,
        query=LanesQuery,
        answers={200: DocumentedAnswer("The three lanes.", Lanes)},
    ),
    Operation(
        id="getMetrics",
        path="/metrics",
        summary="Metrics for Prometheus",
        about=(
            "Any API process returns the metrics of the whole relay. No key is needed if `RELAY_METRICS_OPEN` is true."
        ),
        scopes=METRICS,
        answers={200: DocumentedAnswer("The metrics in Prometheus' text format.", media_type="text/plain")},
    ),
    _steering(
        "pause", "pause", "Pause a webhook", "Accepted calls wait until it is resumed; calls that are being sent end."
    ),
    _steering("resume", "resume", "Resume a webhook", "Its waiting calls are sent, the oldest first."),
    _steering(
        "close-breaker",
        "closeBreakerOf",
        "Close a webhook's breaker",
        "Calls are sent again, although the endpoint could not be contacted before.",
    ),
)
