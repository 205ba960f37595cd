"""Lists every metric: its name, kind and labels, and what it means. No other module names metrics. Pure."""

from __future__ import annotations

from enum import Enum
from typing import Final, Literal

Kind = Literal["counter", "gauge", "histogram"]

_WEBHOOK: Final = ("plugin", "webhook")


class Metric(Enum):
    """Every metric, in the order of the page; each is one family of samples. A counter's family ends in ``_total``."""

    def __init__(self, family: str, kind: Kind, labels: tuple[str, ...], about: str) -> None:
        self.family = family
        self.kind = kind
        self.labels = labels
        self.about = about

    ACCEPTED = ("relay_invocations_accepted_total", "counter", _WEBHOOK, "Accepted triggers.")
    FINAL = (
        "relay_invocations_final_total",
        "counter",
        (*_WEBHOOK, "state", "outcome"),
        "Ended invocations; `outcome` is empty for those that were cancelled.",
    )
    ERRORS = ("relay_invocations_errors_total", "counter", _WEBHOOK, "Ended invocations whose result has `error` true.")
    PENDING = ("relay_pending", "gauge", ("lane",), "Accepted calls that no worker has taken yet.")
    OLDEST_PENDING = (
        "relay_oldest_pending_seconds",
        "gauge",
        ("lane",),
        "Age of the oldest call that no worker has taken yet; 0 if there is none.",
    )
    PARKED = ("relay_parked", "gauge", _WEBHOOK, "Calls that may not be sent now: paused, or at a limit.")
    IN_FLIGHT = ("relay_in_flight", "gauge", _WEBHOOK, "Calls that are being sent.")
    BREAKER_OPEN = (
        "relay_breaker_open",
        "gauge",
        _WEBHOOK,
        "1 if calls are held back because the endpoint cannot be contacted.",
    )
    WORKERS = ("relay_workers", "gauge", ("lane",), "Live worker processes that serve the lane.")
    SILENT = (
        "relay_partitions_silent",
        "gauge",
        (),
        "Partitions of the store that do not answer: what they have is missing.",
    )
    OVER_CAPACITY = (
        "relay_over_capacity_total",
        "counter",
        ("plugin",),
        "Triggers refused because too much was pending.",
    )
    LATE_ANSWERS = (
        "relay_late_answers_total",
        "counter",
        ("plugin",),
        "Answers that came after the call had gone to another worker.",
    )
    MASKED = ("relay_masked_total", "counter", ("plugin",), "Secrets and addresses masked in answers.")
    SWEEPS = ("relay_sweeps_total", "counter", (), "Sweeps of all workers.")
    SWEPT = ("relay_swept_total", "counter", (), "Reference ids that sweeps published again.")
    QUEUE_DELAY = (
        "relay_queue_delay_seconds",
        "histogram",
        _WEBHOOK,
        "Time from when a call could first be sent until a worker took it.",
    )
    ATTEMPT_DURATION = ("relay_attempt_duration_seconds", "histogram", _WEBHOOK, "One outbound request.")
    DURATION = (
        "relay_duration_seconds",
        "histogram",
        _WEBHOOK,
        "Time from acceptance to end, of invocations with a result.",
    )


#: Upper limits of the histograms' buckets; one more bucket has everything beyond.
DURATION_LIMITS_MS: Final = (
    *(5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000),
    *(60_000, 120_000, 300_000, 900_000, 3_600_000),
)
#: The label of all webhooks beyond RELAY_METRICS_WEBHOOKS, and of names that are not registered.
OTHER: Final = "other"
