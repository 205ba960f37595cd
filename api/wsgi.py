"""The module that the WSGI server loads: `granian --interface wsgi api.wsgi:app`."""

from __future__ import annotations

import uuid

from api import affinity
from api.acts import ActCounts
from api.app import Parts, create_app
from api.awaiting import Waiters
from api.bodies import Bodies
from api.body_reads import BodyReads
from api.connections import allow_descriptors
from api.doorkeeper import Doorkeeper
from api.parsing_budget import ParsingBudget
from api.request_log import AcceptedCalls
from api.stopping import on_stop
from relay.authentication.source_address import SourceAddresses
from relay.authentication.unkeyed_refusals import UnkeyedRefusals
from relay.process import garbage
from relay.runtime import api_runtime
from relay.settings import Settings
from relay.store.health import ServerWarnings
from relay.store.rates import PluginRates
from relay.telemetry import log

_settings = Settings.from_environ()
log.configure(_settings.log_level)
if _settings.api_cpu is not None:
    affinity.keep_on(_settings.api_cpu)
_runtime = api_runtime(_settings)
_waiters = Waiters(_runtime.subscribe(str(uuid.uuid4())), _settings.max_waiters)
_waiters.start()
_act_counts = ActCounts(_runtime.audit_writer)
_act_counts.start()
_accepted_calls = AcceptedCalls()
on_stop(_accepted_calls.stop, _waiters.release, _act_counts.stop)
_reads, _refusals = BodyReads(_settings.body_timeout_s), UnkeyedRefusals()
_doorkeeper = Doorkeeper(
    _reads,
    max_connections=_settings.max_connections,
    max_body_bytes=_settings.max_body_bytes,
    chores=[_accepted_calls.write, _refusals.write_if_due],
)
allow_descriptors(2 * _settings.max_connections)
_doorkeeper.start()

app = create_app(
    _settings,
    Parts(
        api_keys=_runtime.api_keys,
        store=_runtime.store,
        data_vault=_runtime.data_vault,
        dispatcher=_runtime.dispatcher,
        waiters=_waiters,
        rates=PluginRates(_runtime.client, _settings.plugin_rate, _runtime.keyspace),
        warnings=ServerWarnings(_runtime.client),
        workers=_runtime.workers,
        listing=_runtime.listing,
        replays=_runtime.replays,
        measures=_runtime.measures,
        traffic=_runtime.traffic,
        backlog=_runtime.backlog,
        metrics_page=_runtime.metrics_page,
        spans=_runtime.spans("api"),
        registry=_runtime.registry,
        bodies=Bodies(
            _reads,
            ParsingBudget(_settings.max_parsing_bytes),
            _doorkeeper,
            max_bytes=_settings.max_body_bytes,
        ),
        addresses=SourceAddresses(_settings.trusted_proxies),
        refusals=_refusals,
        audit_writer=_runtime.audit_writer,
        act_counts=_act_counts,
        accepted_calls=_accepted_calls,
    ),
)
garbage.set_for_serving()
