"""Which events of a message Flower gets to see."""

from __future__ import annotations

import logging
import math
import time
from itertools import product
from types import SimpleNamespace

import pytest
from celery.events import EventReceiver

from relay.telemetry import log
from workers.shown_events import _FIRST_S, _LAST_S, Receiver, is_event

ODD = ({"type": "task-succeeded"}, {}, None, "x")


def event(number):
    always = {"hostname": "bulk@here", "timestamp": time.time()}
    return {"type": "task-succeeded", "uuid": f"call-{number}", "name": "acme/hook", **always}


@pytest.mark.parametrize("are_good", list(product((False, True), repeat=3)))
@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_the_good_events_of_a_message_are_shown_whatever_came_beside_them_and_that_is_logged(
    monkeypatch, events_of, are_good, odd
):
    shown, said = [], events_of(log)
    monkeypatch.setattr(EventReceiver, "_receive", lambda _self, body, _message: shown.extend(body))
    events = [event(number) if is_good else odd for number, is_good in enumerate(are_good)]
    Receiver._receive(Receiver.__new__(Receiver), events, None)
    assert shown == [each for each, is_good in zip(events, are_good, strict=True) if is_good]
    dropped = (log.Event.MESSAGE_DROPPED, {"level": logging.WARNING, "lane": "events"})
    assert said == [dropped] * (not all(are_good))


def test_what_cannot_be_decoded_is_dropped_and_none_of_it_logged(events_of):
    said = events_of(log)
    Receiver.__new__(Receiver).on_decode_error(SimpleNamespace(body=b"planted"), ValueError("planted"))
    assert said == [(log.Event.MESSAGE_DROPPED, {"level": logging.WARNING, "lane": "events"})]


HEARTBEAT = {"type": "worker-heartbeat", "uuid": ..., "name": ...}


@pytest.mark.parametrize(
    ("changes", "is_shown"),
    [
        *(({"utcoffset": hours}, -24 <= hours <= 24) for hours in (-25, -24, -9.5, 0, 5.75, 24, 25)),
        *(({"timestamp": _FIRST_S + after_s}, after_s >= 0) for after_s in (-1, 0)),
        *(({"timestamp": _LAST_S + after_s}, after_s <= 0) for after_s in (0, 1)),
        *(({name: value}, False) for name in ("started", "received") for value in (None, "1", True, 0, math.nan)),
        *(({"retries": count}, 0 <= count < 2**53) for count in (-1, 0, 2**53 - 1, 2**53)),
        *(({"runtime": runtime_s}, runtime_s >= 0) for runtime_s in (-0.1, 0, 0.5)),
        *(({"runtime": runtime_s}, False) for runtime_s in (math.nan, math.inf, -math.inf, 2**53, 10**400)),
        *(({"result": text}, is_shown) for text, is_shown in (("x" * 1_024, True), ("x" * 1_025, False), (None, True))),
        *(({"uuid": name}, False) for name in ("", None, "a\nb", 1)),
        *(({name: ...}, False) for name in ("hostname", "timestamp", "uuid", "name", "type")),
        *(({"loadavg": [1, 2, 3]}, False), ({"another": 1}, False), ({"type": "task-received"}, False)),
        *(({**HEARTBEAT, "loadavg": [0.1] * count}, count == 3) for count in (2, 3, 4)),
        *(({**HEARTBEAT, "active": count}, count != 0.5) for count in (0, 7, 0.5)),
        *(({**HEARTBEAT, "uuid": "call-1"}, False), ({**HEARTBEAT, "sw_ver": None}, False)),
    ],
)
def test_an_event_has_values_that_every_page_can_show(changes, is_shown):
    changed = {name: value for name, value in {**event(1), **changes}.items() if value is not ...}
    assert is_event(changed) == is_shown
