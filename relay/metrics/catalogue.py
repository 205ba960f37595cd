"""Lists every metric: its name, kind and labels, and what it means. No other module names metrics. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One family of samples. A counter's name ends in ``_total``."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    about: str


_WEBHOOK: Final = ("plugin", "webhook")

ACCEPTED: Final = Metric("relay_invocations_accepted_total", "counter", _WEBHOOK, "Accepted triggers.")
FINAL: Final = Metric(
    "relay_invocations_final_total",
    "counter",
    (*_WEBHOOK, "state", "outcome"),
    "Ended invocations; `outcome` is empty for those that were cancelled.",
)
ERRORS: Final = Metric(
    "relay_invocations_errors_total", "counter", _WEBHOOK, "Ended invocations whose result has `error` true."
)
PENDING: Final = Metric("relay_pending", "gauge", ("lane",), "Accepted calls that no worker has taken yet.")
OLDEST_PENDING: Final = Metric(
    "relay_oldest_pending_seconds",
    "gauge",
    ("lane",),
    "Age of the oldest call that no worker has taken yet; 0 if there is none.",
)
PARKED: Final = Metric("relay_parked", "gauge", _WEBHOOK, "Calls that may not be sent now: paused, or at a limit.")
IN_FLIGHT: Final = Metric("relay_in_flight", "gauge", _WEBHOOK, "Calls that are being sent.")
BREAKER_OPEN: Final = Metric(
    "relay_breaker_open", "gauge", _WEBHOOK, "1 if calls are held back because the endpoint cannot be contacted."
)
SILENT: Final = Metric(
    "relay_partitions_silent",
    "gauge",
    (),
    "Partitions of the store that do not answer: what they have is missing.",
)
WORKERS: Final = Metric("relay_workers", "gauge", ("lane",), "Live worker processes that serve the lane.")
OVER_CAPACITY: Final = Metric(
    "relay_over_capacity_total", "counter", ("plugin",), "Triggers refused because too much was pending."
)
LATE_ANSWERS: Final = Metric(
    "relay_late_answers_total", "counter", ("plugin",), "Answers that came after the call had gone to another worker."
)
MASKED: Final = Metric("relay_masked_total", "counter", ("plugin",), "Secrets and addresses taken out of answers.")
SWEEPS: Final = Metric("relay_sweeps_total", "counter", (), "Sweeps of all workers.")
SWEPT: Final = Metric("relay_swept_total", "counter", (), "Reference ids that sweeps published again.")
QUEUE_DELAY: Final = Metric(
    "relay_queue_delay_seconds",
    "histogram",
    _WEBHOOK,
    "Time from when a call could first be sent until a worker took it.",
)
ATTEMPT_DURATION: Final = Metric("relay_attempt_duration_seconds", "histogram", _WEBHOOK, "One outbound request.")
DURATION: Final = Metric(
    "relay_duration_seconds", "histogram", _WEBHOOK, "Time from acceptance to end, of invocations with a result."
)

#: All of them, in the order of the page.
METRICS: Final = (
    ACCEPTED,
    FINAL,
    ERRORS,
    PENDING,
    OLDEST_PENDING,
    PARKED,
    IN_FLIGHT,
    BREAKER_OPEN,
    WORKERS,
    SILENT,
    OVER_CAPACITY,
    LATE_ANSWERS,
    MASKED,
    SWEEPS,
    SWEPT,
    QUEUE_DELAY,
    ATTEMPT_DURATION,
    DURATION,
)

#: Upper limits of the histograms' buckets; one more bucket has everything beyond.
DURATION_LIMITS_MS: Final = (
    *(5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000),
    *(60_000, 120_000, 300_000, 900_000, 3_600_000),
)
#: The label of all webhooks beyond RELAY_METRICS_WEBHOOKS, and of names that are not registered.
OTHER: Final = "other"
