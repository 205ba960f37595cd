"""The Celery app of the workers: ``celery -A workers.app worker ...``."""

from __future__ import annotations

from gevent import config as gevent_config

from workers.bootsteps import Executing, Refilling, Reporting, Signing, Sweeping
from workers.heartbeat import Beating
from workers.lane_app import app

# Who spawned whom is for debuggers; to note it for every call costs more than to spawn it.
gevent_config.track_greenlet_tree = False

app.steps["worker"].update((Executing, Sweeping, Refilling, Beating, Reporting, Signing))
