import pytest

from tests.integration.api_harness import own_api
from tests.integration.test_api_triggers import problem


@pytest.fixture
def limited():
    """An API whose plugins may send three triggers a minute."""
    with own_api(threads=16, RELAY_PLUGIN_RATE="3/m") as harness:
        yield harness


def test_a_plugin_beyond_its_rate_is_told_when_to_come_again_and_others_are_not_held_up(limited):
    assert limited.trigger(prefer="respond-async").status_code == 202
    assert limited.call("POST", "/v1/triggers", json=[{"webhookId": "order"}] * 2).status_code == 202
    for answer in (
        limited.trigger(prefer="respond-async"),
        limited.call("POST", "/v1/triggers", json=[{"webhookId": "order"}]),
    ):
        problem(answer, 429, "rate_limited")
        assert 1 <= int(answer.headers["Retry-After"]) <= 20
    assert limited.trigger("theirs", key=limited.foreign_key, prefer="respond-async").status_code == 202
    reference_id = limited.taken()[0]
    assert limited.call("GET", f"/v1/invocations/{reference_id}").status_code == 200
