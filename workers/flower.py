"""Runs Flower for the relay: ``python -m workers.flower`` takes the options of ``celery flower``.

Flower itself lists only the queues that live workers serve, so a lane would vanish from its broker page when its worker
dies, just when an operator needs to see it. Here every lane is always listed. Flower would also switch on Celery's own
task events; here it shows those that workers make from calls, and drops any in another form. It does not start without
a password, and failed logins are limited and counted like those of the API. It changes no worker, and sends a content
security policy with its pages.
"""

from __future__ import annotations

import workers.clean_start  # noqa: F401 - it may restart the process, so nothing large is imported before it

# isort: split
import sys
from typing import TYPE_CHECKING

import flower.command
import flower.events
from celery.bin.celery import main
from flower.views import BaseHandler
from flower.views.monitor import Metrics
from tornado.options import options
from tornado.web import authenticated

from relay.queue import LANES
from relay.settings import Settings
from workers.logins import Logins, has_login
from workers.page_policy import send_policy
from workers.shown_events import Receiver

if TYPE_CHECKING:
    from collections.abc import Callable


def _with_every_lane(names_of: Callable[[BaseHandler], list[str]]) -> Callable[[BaseHandler], list[str]]:
    def names(handler: BaseHandler) -> list[str]:
        return [*LANES, *(name for name in names_of(handler) if name not in LANES)]

    return names


def run() -> None:
    """Start Flower with the options of the command line."""
    settings = Settings.from_environ()
    if settings.flower_auth is not None:
        options.basic_auth = [settings.flower_auth.reveal()]
    elif not has_login(sys.argv[1:]):
        sys.exit("Flower has no password: set RELAY_FLOWER_AUTH to user:password, or give --auth.")
    logins = Logins(settings.auth_failures, settings.trusted_proxies)
    BaseHandler.get_active_queue_names = _with_every_lane(BaseHandler.get_active_queue_names)
    BaseHandler.get_current_user = logins.limited(BaseHandler.get_current_user)
    Metrics.get = authenticated(Metrics.get)  # Flower itself shows them to anybody
    flower.events.EventReceiver = Receiver
    send_policy()
    sys.argv[1:1] = ["-A", "workers.lane_app", "flower", "--enable-events=False", "--read-only=True"]
    sys.exit(main())


if __name__ == "__main__":
    run()
