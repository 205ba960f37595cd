"""Replies of the server that no script gives, each at every point of a run: nothing is lost, doubled, late, or held.

A connection on which replies have shifted by one, or a proxy that is wrong, can bring such replies. A well-formed lie,
such as a claim that was granted and did not happen, cannot be told from the truth.
"""

from __future__ import annotations

import pytest

from tests.executor.faulty_parts import AFTER, BEFORE, STORE, Nonsense
from tests.executor.site import SCENARIOS, Calls, site, webhooks

#: Nothing of a kind that a script replies.
OTHERS = {
    "nil": None,
    "nothing": [],
    "a text": b"OK",
    "a number": 17,
    "nils": [None, None, None],
    "lists": [[], [], []],
    "texts": [b"x", b"y", b"z"],
}


def _first_list(change):
    """Return a function that changes the first list in a reply which has something in it."""

    def changed(reply):
        if not isinstance(reply, list):
            return None
        index = next((at for at, each in enumerate(reply) if isinstance(each, list) and each), None)
        return reply if index is None else [*reply[:index], change(reply[index]), *reply[index + 1 :]]

    return changed


#: The reply of the script, changed.
CHANGED = {
    "cut off": lambda reply: reply[:-1] if isinstance(reply, list) else None,
    "no head": lambda reply: [None, *reply[1:]] if isinstance(reply, list) else None,
    "a list cut off": _first_list(lambda each: each[:-1]),
    "a list of nils": _first_list(lambda each: [None] * len(each)),
    "a list of texts": _first_list(lambda each: [b"x"] * len(each)),
    "an empty list": _first_list(lambda _: []),
}
REPLIES = {
    **{name: (BEFORE, lambda _, value=value: value) for name, value in OTHERS.items()},
    **{f"{name}, and it ran": (AFTER, lambda _, value=value: value) for name, value in OTHERS.items()},
    **{name: (AFTER, change) for name, change in CHANGED.items()},
}
NAMES = list(REPLIES)
#: Each reply comes at one in so many points, so that each point meets several.
SAMPLED = 3
MOST_POINTS = 60
#: A sweep finds what is left over after one step of the clock; leases end after six.
LATE_MS = 15_000


@pytest.fixture(scope="module")
def endpoint():
    with site() as served:
        yield served


@pytest.fixture(scope="module")
def worker(worker, endpoint):
    worker.register(*webhooks(endpoint.origin))
    return worker


def run(worker, endpoint, scenario, point, moment, change):
    """Make one run with one such reply; return what it was a reply to, or None if the run passed fewer points."""
    worker.begin()
    calls, before_ms = SCENARIOS[scenario](), worker._now_ms
    refs = calls.bring(worker)
    worker.faults.arm(point, [Nonsense(change)], moment)
    worker.run_to_the_end(refs)
    worker.faults.disarm()
    if not worker.faults.struck:
        return None
    kind, name = worker.faults.passed[point]
    to_script = name.startswith("relay_")  # nonsense about webhooks and secrets is taken as damage
    where = f"point {point} of {scenario}: {name}"
    assert worker.leftovers() == {}, where
    calls.check(worker, endpoint.receipts, surely=to_script)
    assert worker._now_ms - before_ms < LATE_MS, where
    return kind, name


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("reply", REPLIES)
def test_nonsense_replies_lose_double_delay_or_hold_nothing(worker, endpoint, scenario, reply):
    places = set()
    for point in range(NAMES.index(reply) % SAMPLED, MOST_POINTS, SAMPLED):
        place = run(worker, endpoint, scenario, point, *REPLIES[reply])
        if place is None:
            break
        places.add(place)
    assert {kind for kind, _ in places} >= {STORE}
    fresh = Calls("plain", {"fresh": 1})
    fresh.bring(worker)
    worker.run()
    fresh.check(worker, endpoint.receipts, surely=True)
