"""Which events of a message Flower gets to see."""

from __future__ import annotations

import time
from itertools import product

import pytest
from celery.events import EventReceiver

from workers.shown_events import Receiver

ODD = ({"type": "task-succeeded"}, {}, None, "x")


def event(number):
    always = {"hostname": "bulk@here", "timestamp": time.time()}
    return {"type": "task-succeeded", "uuid": f"call-{number}", "name": "acme/hook", **always}


@pytest.mark.parametrize("are_good", list(product((False, True), repeat=3)))
@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_the_good_events_of_a_message_are_shown_whatever_came_beside_them(monkeypatch, are_good, odd):
    shown = []
    monkeypatch.setattr(EventReceiver, "_receive", lambda _self, body, _message: shown.extend(body))
    events = [event(number) if is_good else odd for number, is_good in enumerate(are_good)]
    Receiver._receive(Receiver.__new__(Receiver), events, None)
    assert shown == [each for each, is_good in zip(events, are_good, strict=True) if is_good]
