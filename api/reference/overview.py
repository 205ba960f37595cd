"""Describes the operations with which operators watch traffic and steer webhooks."""

from __future__ import annotations

from typing import Final

from api.auth import METRICS, OPERATE
from api.queries import LanesQuery, OverviewQuery
from api.reference import overview_schemas as schemas
from api.reference.operation import DocumentedAnswer, Operation
from api.reference.samples import Sample
from relay import errors

TEXT: Final = "text/plain"

_STATS: Final = Operation(
    id="getStats",
    method="GET",
    path="/v1/stats",
    tag="Overview",
    summary="What happened, by the minute",
    about=(
        "Every minute from `since` (an hour ago by default, at most a day ago) to the current one, oldest first, also "
        "those in which nothing happened. What was accepted counts in the minute of its acceptance; ends, errors and "
        "percentiles (from acceptance to end) in the minute of the end."
    ),
    scopes=OPERATE,
    query=OverviewQuery,
    answers={200: DocumentedAnswer("The minutes.", schemas.Stats)},
    problems=(errors.BadParameter,),
    sample=Sample("GET", "/v1/stats", query={"webhookId": "order"}),
)

_GROUPS: Final = Operation(
    id="getGroups",
    method="GET",
    path="/v1/groups",
    tag="Overview",
    summary="Failures of a kind",
    about="Invocations in error of the last day, or since then, by webhook, outcome and status; most frequent first.",
    scopes=OPERATE,
    query=OverviewQuery,
    answers={200: DocumentedAnswer("At most 100 groups.", schemas.Groups)},
    problems=(errors.BadParameter,),
    sample=Sample("GET", "/v1/groups"),
)

_TRAFFIC: Final = Operation(
    id="getTraffic",
    method="GET",
    path="/v1/traffic",
    tag="Overview",
    summary="How each webhook's calls flow",
    about="Every registered webhook, by id: what was counted of it in a day, and how its calls stand now.",
    scopes=OPERATE,
    answers={200: DocumentedAnswer("The webhooks.", schemas.TrafficReport)},
    sample=Sample("GET", "/v1/traffic"),
)


_LANES: Final = Operation(
    id="getLanes",
    method="GET",
    path="/v1/lanes",
    tag="Overview",
    summary="What waits in the lanes",
    about="Of the whole relay, whose plugins share them; the most urgent lane first. With `since` also what waited.",
    scopes=OPERATE,
    query=LanesQuery,
    answers={200: DocumentedAnswer("The three lanes.", schemas.Lanes)},
    problems=(errors.BadParameter,),
    sample=Sample("GET", "/v1/lanes"),
)

_METRICS: Final = Operation(
    id="getMetrics",
    method="GET",
    path="/metrics",
    tag="Overview",
    summary="Metrics for Prometheus",
    about=(
        "The whole relay from any API process. For a key of the scope `metrics`, or for everybody where "
        "`RELAY_METRICS_OPEN` is true."
    ),
    scopes=METRICS,
    answers={200: DocumentedAnswer("The text format of Prometheus.", media_type=TEXT)},
    sample=Sample("GET", "/metrics", textual=True),
)


def _steering(action: str, name: str, summary: str, about: str) -> Operation:
    return Operation(
        id=f"{name}Webhook",
        method="POST",
        path=f"/v1/webhooks/{{webhookId}}/{action}",
        tag="Overview",
        summary=summary,
        about=f"{about} Without a body. Doing it again changes nothing.",
        scopes=OPERATE,
        parameters={"webhookId": "The webhook's id."},
        answers={200: DocumentedAnswer("How its calls flow afterwards.", schemas.WebhookTraffic)},
        problems=(errors.WebhookNotRegistered,),
        sample=Sample("POST", f"/v1/webhooks/order/{action}"),
    )


OPERATIONS: Final = (
    _STATS,
    _GROUPS,
    _TRAFFIC,
    _LANES,
    _METRICS,
    _steering("pause", "pause", "Pause a webhook", "What is accepted waits; what is being sent ends."),
    _steering("resume", "resume", "Resume a webhook", "Its calls are sent again, the oldest first."),
    _steering(
        "close-breaker",
        "closeBreakerOf",
        "Close a webhook's breaker",
        "Calls go again although the endpoint could not be contacted before.",
    ),
)
