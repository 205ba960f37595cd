"""The Celery app of the workers: ``celery -A workers.app worker ...``."""

from __future__ import annotations

import workers.clean_start  # noqa: F401 - it may restart the process, so nothing large is imported before it

# isort: split
from gevent import config as gevent_config

from workers import broadcasts
from workers.bootsteps import Executing, Upkeep
from workers.heartbeat import Beating
from workers.lane_app import app
from workers.lane_consumer import LaneConsumer

# The tree of greenlets is for debuggers; recording it costs more, for every call, than spawning the greenlet.
gevent_config.track_greenlet_tree = False

app.conf.worker_consumer = f"{LaneConsumer.__module__}:{LaneConsumer.__name__}"
app.steps["worker"].update((Executing, Upkeep, Beating))
broadcasts.take_questions_alone()
