"""Makes the page that Prometheus reads: metrics of the whole relay, from any API process."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Final

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from relay.errors import Unavailable
from relay.metrics.catalogue import DURATION_LIMITS_MS, OTHER, Metric
from relay.metrics.gathering import ATTEMPT, WAITED
from relay.queue import LANES
from relay.store.health.workers import known_workers, workers_by_lane
from relay.store.server.availability import going_on_without

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from prometheus_client.metrics_core import Metric as Family

    from relay.store.counts.backlog import Backlog
    from relay.store.counts.measures import Measures
    from relay.store.health.workers import Workers
    from relay.store.ledger.invocations import InvocationStore
    from relay.store.ledger.policies import Policies, Traffic
    from relay.store.partitions.reachable import Partitions
    from relay.store.registry.webhooks import Registry

MEDIA_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
_FAMILIES: Final = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily}
#: Histograms by their names in a plugin's totals.
_HISTOGRAMS: Final = {WAITED: Metric.QUEUE_DELAY, ATTEMPT: Metric.ATTEMPT_DURATION, "duration": Metric.DURATION}
#: Counters by their names in a plugin's totals.
_TOTALS: Final = {"accepted": Metric.ACCEPTED, "errors": Metric.ERRORS, "final": Metric.FINAL}
#: Counters of a plugin by their names in its counts.
_OF_PLUGIN: Final = {"over_capacity": Metric.OVER_CAPACITY, "late": Metric.LATE_ANSWERS, "masked": Metric.MASKED}
_Labels = tuple[str, ...]


class MetricsPage(Collector):
    """Reads everything again for each page, and makes one page at a time, because each costs the store time."""

    def __init__(
        self,
        partitions: Partitions,
        registry: Registry,
        store: InvocationStore,
        measures: Measures,
        policies: Policies,
        backlog: Backlog,
        workers: Workers,
        *,
        max_webhooks: int,
    ) -> None:
        self._partitions = partitions
        self._registry = registry
        self._store = store
        self._measures = measures
        self._policies = policies
        self._backlog = backlog
        self._workers = workers
        self._max_webhooks = max_webhooks
        self._last_named = frozenset[str]()
        self._collected = CollectorRegistry()
        self._collected.register(self)
        ProcessCollector(registry=self._collected)
        self._one_at_a_time = Lock()

    def text(self) -> bytes:
        """Write the page. Raises `Unavailable` while the store is away."""
        with self._one_at_a_time:
            return generate_latest(self._collected)

    def collect(self) -> Iterator[Family]:
        """Read the relay's metrics; the library's writer calls this for each page."""
        samples = _Samples()
        self._add_lanes(samples)
        found = self._partitions.ask(self._read)
        samples.add(Metric.SILENT, (), len(found.silent))
        states = [state for states in found for state in states]
        named = self._named(states)
        for state in states:
            _add_plugin(samples, state, named)
        return samples.families()

    def _read(self, partition: int) -> list[_PluginState]:
        return [self._state_of(plugin) for plugin in self._registry.plugins_in(partition)]

    def _state_of(self, plugin: str) -> _PluginState:
        totals = self._measures.totals(plugin)
        webhooks = [each.shape.webhook_id for each in self._registry.shapes(plugin)]
        traffics = self._policies.traffics(plugin, webhooks)
        return _PluginState(plugin, totals, dict(zip(webhooks, traffics, strict=True)), self._store.counts(plugin))

    def _add_lanes(self, samples: _Samples) -> None:
        for backlog in self._backlog.of(LANES):
            lane = (backlog.lane,)
            samples.add(Metric.PENDING, lane, backlog.pending)
            samples.add(Metric.OLDEST_PENDING, lane, (backlog.oldest_ms or 0) / 1000)
        workers = known_workers(self._workers)
        for each, count in workers_by_lane(workers).items() if workers is not None else ():
            samples.add(Metric.WORKERS, (each,), count)
        sweeps = self._measures.sweeps()
        if sweeps is not None:
            samples.add(Metric.SWEEPS, (), sweeps.sweeps)
            samples.add(Metric.SWEPT, (), sweeps.published)

    def _named(self, states: Iterable[_PluginState]) -> frozenset[str]:
        """Return which webhooks have a label of their own: those that were named before, then the busiest."""
        busy = Counter[str]()
        for state in states:
            busy.update({f"{state.plugin}/{webhook}": 0 for webhook in state.webhooks})
            for (webhook, name), count in state.totals.items():
                if webhook:
                    busy[f"{state.plugin}/{webhook}"] += count if name == "accepted" else 0
        order = sorted(busy, key=lambda name: (-busy[name], name))
        try:
            with going_on_without():
                self._last_named = self._measures.name_webhooks(order, at_most=self._max_webhooks)
        except Unavailable:  # the shared keys are silent: keep the last names, or choose by traffic alone
            self._last_named = self._last_named or frozenset(order[: self._max_webhooks])
        return self._last_named


@dataclass(frozen=True, slots=True)
class _PluginState:
    """What was read of a plugin: its totals, its webhooks with their traffic, and its counts."""

    plugin: str
    totals: Mapping[tuple[str, str], int]
    webhooks: Mapping[str, Traffic]
    counts: Mapping[str, int]


def _add_plugin(samples: _Samples, state: _PluginState, named: frozenset[str]) -> None:
    plugin = state.plugin
    for webhook, now in state.webhooks.items():
        labels = (plugin, _label(named, plugin, webhook))
        for metric in (Metric.ACCEPTED, Metric.ERRORS):  # from 0 on, so that the first increase is seen
            samples.add(metric, labels, 0)
        samples.add(Metric.PARKED, labels, now.parked)
        samples.add(Metric.IN_FLIGHT, labels, now.running)
        samples.add(Metric.BREAKER_OPEN, labels, int(now.breaker != "closed"))
    for (webhook, name), count in state.totals.items():
        samples.add_total(plugin, _label(named, plugin, webhook), name, count)
    for name, metric in _OF_PLUGIN.items():
        samples.add(metric, (plugin,), state.counts.get(name, 0))


def _label(named: frozenset[str], plugin: str, webhook: str) -> str:
    return webhook if f"{plugin}/{webhook}" in named else OTHER


class _Samples:
    """Amounts by metric and labels; those with the same labels are added up."""

    def __init__(self) -> None:
        self._amounts: dict[Metric, Counter[_Labels]] = defaultdict(Counter)
        self._histograms: dict[Metric, dict[_Labels, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))

    def add(self, metric: Metric, labels: _Labels, amount: float) -> None:
        self._amounts[metric][labels] += amount  # type: ignore[assignment]  # a Counter adds fractions as well

    def add_total(self, plugin: str, webhook: str, name: str, count: int) -> None:
        """Add one of a plugin's totals (``relay.store.counts.notes``)."""
        kind, *rest = name.split(":")
        if kind in _TOTALS:
            self.add(_TOTALS[kind], (plugin, webhook, *rest), count)
        elif kind in _HISTOGRAMS:
            self._histograms[_HISTOGRAMS[kind]][plugin, webhook][rest[0]] += count

    def families(self) -> Iterator[Family]:
        """Yield every metric of the catalogue, in its order, including those without a sample."""
        for metric in Metric:
            family = _FAMILIES[metric.kind](metric.family, metric.about, labels=metric.labels)
            for labels, amount in sorted(self._amounts[metric].items()):
                family.add_metric(labels, amount)
            for labels, amounts in sorted(self._histograms[metric].items()):
                buckets, sum_s = _buckets(amounts)
                family.add_metric(labels, buckets, sum_s)
            yield family


def _buckets(amounts: Mapping[str, int]) -> tuple[list[tuple[str, float]], float]:
    """Return a histogram's cumulative buckets and its sum, in seconds."""
    buckets: list[tuple[str, float]] = []
    seen = 0
    for number, limit_ms in enumerate((*DURATION_LIMITS_MS, None)):
        seen += amounts.get(str(number), 0)
        buckets.append(("+Inf" if limit_ms is None else f"{limit_ms / 1000:g}", seen))
    return buckets, amounts.get("sum", 0) / 1000
