"""Publishing while the broker is away: it says so at once, for callers wait behind it."""

from __future__ import annotations

import time

import pytest

from relay.errors import Unavailable
from relay.queue import Publisher, make_app
from relay.settings import Settings
from tests.receivers import closed_port

AT_ONCE_S = 2.0


@pytest.fixture
def publisher():
    return Publisher(make_app(Settings.from_environ({"RELAY_REDIS_URL": f"redis://127.0.0.1:{closed_port()}/0"})))


def test_a_broker_that_is_away_is_found_out_at_once(publisher):
    started_s = time.monotonic()
    for _ in range(3):
        with pytest.raises(Unavailable):
            publisher.publish("bulk", ["a"])
    assert publisher.depths() == {}
    assert time.monotonic() - started_s < AT_ONCE_S


def test_what_could_not_be_published_is_given_back(publisher):
    ready = (("a", "bulk"), ("b", "interactive"))
    assert sorted(publisher.publish_ready(ready)) == sorted(ready)
