"""The module that the WSGI server loads: `granian --interface wsgi api.wsgi:app`."""

from __future__ import annotations

import uuid

from api import affinity
from api.app import Parts, create_app
from api.awaiting import Waiters
from api.bodies import Bodies
from api.parsing_budget import ParsingBudget
from api.request_audit import ActCounts
from api.request_log import RequestLog
from api.stopping import on_stop
from api.watching import start_watching
from relay.authentication.source_address import SourceAddresses
from relay.process import garbage
from relay.process.descriptors import allow_descriptors
from relay.settings import Settings
from relay.store.health.readiness import ServerWarnings
from relay.store.ledger.rates import PluginRates
from relay.telemetry import log
from relay.upkeep.watching import watchings
from relay.wiring.runtime import api_runtime

_settings = Settings.from_environ()
log.configure(_settings.log_level)
if _settings.api_cpu is not None:
    affinity.keep_on(_settings.api_cpu)
_runtime = api_runtime(_settings)
_process = str(uuid.uuid4())
_waiters = Waiters(_runtime.subscribe(_process), _settings.max_waiters)
_waiters.start()
start_watching(watchings(_process, _runtime.decisions, _runtime.heads), _runtime.heads)
_act_counts = ActCounts(_runtime.audit_writer)
_act_counts.start()
_addresses = SourceAddresses(_settings.trusted_proxies)
_request_log = RequestLog(_addresses)
_request_log.start()
on_stop(_request_log.stop, _waiters.release, _act_counts.stop)
allow_descriptors(_settings.max_connections)

app = create_app(
    _settings,
    Parts(
        api_keys=_runtime.api_keys,
        store=_runtime.store,
        data_vault=_runtime.data_vault,
        dispatcher=_runtime.dispatcher,
        waiters=_waiters,
        rates=PluginRates(_runtime.client, _settings.plugin_rate, _runtime.keyspace),
        partitions=_runtime.partitions,
        functions=_runtime.functions,
        epochs=_runtime.epochs,
        warnings=ServerWarnings(_runtime.client),
        workers=_runtime.workers,
        listing=_runtime.listing,
        subject_hashes=_runtime.subject_hashes,
        replays=_runtime.replays,
        measures=_runtime.measures,
        traffic=_runtime.traffic,
        backlog=_runtime.backlog,
        metrics_page=_runtime.metrics_page,
        spans=_runtime.spans("api"),
        registry=_runtime.registry,
        bodies=Bodies(ParsingBudget(_settings.max_parsing_bytes), max_bytes=_settings.max_body_bytes),
        addresses=_addresses,
        request_log=_request_log,
        audit_writer=_runtime.audit_writer,
        act_counts=_act_counts,
    ),
)
garbage.set_for_serving()
