"""The Celery app of the workers, and of Flower beside them: ``celery -A workers.app worker ...``."""

from __future__ import annotations

from celery.signals import setup_logging
from gevent import config as gevent_config

from relay.queue import make_app
from relay.settings import Settings, start_anew_without_foreign
from relay.telemetry import log
from workers.bootsteps import Executing, Refilling, Reporting, Signing, Sweeping
from workers.heartbeat import Beating
from workers.lanes import use_checked_transports
from workers.tasks import register

start_anew_without_foreign()

# Who spawned whom is for debuggers; to note it for every call costs more than to spawn it.
gevent_config.track_greenlet_tree = False

settings = Settings.from_environ()
log.configure(settings.log_level)  # before Celery says a word: a log that nobody reads must not hold up the start
app = make_app(settings)
app.steps["worker"].update((Executing, Sweeping, Refilling, Beating, Reporting, Signing))
register(app)
use_checked_transports()


@setup_logging.connect
def _log_as_json(**_: object) -> None:
    log.configure(settings.log_level)
