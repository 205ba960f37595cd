"""Describes the operations with which operators watch traffic and steer webhooks."""

from __future__ import annotations

from typing import Final

from api.auth import METRICS, OPERATE
from api.queries import LanesQuery, OverviewQuery
from api.reference import overview_schemas as schemas
from api.reference.operation import DocumentedAnswer, Operation, Sample
from relay import errors

TEXT: Final = "text/plain"


def _steering(action: str, name: str, summary: str, about: str) -> Operation:
    return Operation(
        id=f"{name}Webhook",
        method="POST",
        path=f"/v1/webhooks/{{webhookId}}/{action}",
        summary=summary,
        about=f"{about} Takes no body. Repeating it changes nothing.",
        scopes=OPERATE,
        answers={200: DocumentedAnswer("The webhook's traffic afterwards.", schemas.WebhookTraffic)},
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
        answers={200: DocumentedAnswer("The minutes.", schemas.Stats)},
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
        answers={200: DocumentedAnswer("At most 100 groups.", schemas.Groups)},
    ),
    Operation(
        id="getTraffic",
        path="/v1/traffic",
        summary="Traffic of each webhook",
        about="Every registered webhook, in order of id: its counts of the last day, and how its calls stand now.",
        scopes=OPERATE,
        answers={200: DocumentedAnswer("The webhooks.", schemas.TrafficReport)},
    ),
    Operation(
        id="getLanes",
        path="/v1/lanes",
        summary="Calls that wait in each lane",
        about="The lanes of the whole relay, the most urgent first. With `since`, also how many waited in each minute.",
        scopes=OPERATE,
        query=LanesQuery,
        answers={200: DocumentedAnswer("The three lanes.", schemas.Lanes)},
    ),
    Operation(
        id="getMetrics",
        path="/metrics",
        summary="Metrics for Prometheus",
        about=(
            "Any API process returns the metrics of the whole relay. No key is needed if `RELAY_METRICS_OPEN` is true."
        ),
        scopes=METRICS,
        answers={200: DocumentedAnswer("The metrics in Prometheus' text format.", media_type=TEXT)},
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
