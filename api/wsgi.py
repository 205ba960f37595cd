"""The module that the WSGI server loads: `granian --interface wsgi api.wsgi:app`."""

from __future__ import annotations

import api.stop_while_loading  # noqa: F401 - nothing that takes time is imported before it

# isort: split
import uuid

from api import affinity
from api.app import create_app
from api.awaiting import Waiters
from api.request_audit import ActCounts
from api.request_log import RequestLog
from api.stopping import on_stop
from api.watching import start_watching
from relay.authentication.source_address import SourceAddresses
from relay.process import garbage
from relay.process.descriptors import allow_descriptors
from relay.settings import Settings
from relay.telemetry import log
from relay.upkeep.watching import watchings
from relay.wiring.runtime import api_runtime

_settings = Settings.from_environ()
log.configure(_settings.log_level)
if _settings.api_cpu is not None:
    affinity.keep_on(_settings.api_cpu)
_runtime = api_runtime(_settings)
_process = str(uuid.uuid4())
_waiters = Waiters(_runtime.subscribe(_process), _runtime.store, _settings.max_waiters)
_waiters.start()
start_watching(watchings(_process, _runtime.decisions, _runtime.heads), _runtime.heads)
_act_counts = ActCounts(_runtime.audit_writer)
_act_counts.start()
_request_log = RequestLog(SourceAddresses(_settings.trusted_proxies))
_request_log.start()
on_stop(_request_log.stop, _waiters.release, _act_counts.stop)
allow_descriptors(_settings.max_connections)

app = create_app(_settings, _runtime, _waiters, _act_counts, _request_log)
garbage.set_for_serving()
