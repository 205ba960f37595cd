"""What the WSGI server loads: `granian --interface wsgi api.wsgi:app`."""

from __future__ import annotations

import uuid

from api import affinity
from api.app import Parts, create_app
from api.awaiting import Waiters
from api.stopping import on_stop
from relay import garbage, telemetry
from relay.runtime import api_runtime
from relay.settings import Settings
from relay.store.health import ServerWarnings
from relay.store.rates import PluginRates

_settings = Settings.from_environ()
telemetry.configure(_settings.log_level)
if _settings.api_cpu is not None:
    affinity.keep_on(_settings.api_cpu)
_runtime = api_runtime(_settings)
_waiters = Waiters(_runtime.subscribe(str(uuid.uuid4())), _settings.max_waiters)
_waiters.start()
on_stop(_waiters.release)

app = create_app(
    _settings,
    Parts(
        api_keys=_runtime.api_keys,
        store=_runtime.store,
        data_vault=_runtime.data_vault,
        dispatcher=_runtime.dispatcher,
        waiters=_waiters,
        rates=PluginRates(_runtime.client, _settings.plugin_rate),
        warnings=ServerWarnings(_runtime.client),
        workers=_runtime.workers,
        listing=_runtime.listing,
        replays=_runtime.replays,
        measures=_runtime.measures,
        traffic=_runtime.traffic,
        backlog=_runtime.backlog,
        metrics_page=_runtime.metrics_page,
    ),
)
garbage.set_for_serving()
