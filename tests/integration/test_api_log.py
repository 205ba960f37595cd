"""What the API's log says of each request, and that a stop loses none of it."""

from __future__ import annotations

import json
import threading
from collections import Counter

import pytest
import requests

from tests.conftest import own_valkey
from tests.integration.api_harness import environ_for, running_api
from tests.timing import wait_until

CALLERS = 8
CALLS = 40  # of each caller, before the stop


@pytest.fixture(scope="module")
def environ():
    with own_valkey() as server:
        yield environ_for(f"redis://127.0.0.1:{server.port}/0")


def events(log_path, name):
    lines = [json.loads(line) for line in log_path.read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if line.get("event") == name]


def accepted_calls(log_path):
    """Return the rows of all accepted calls, by reference id."""
    rows = [row for event in events(log_path, "calls_accepted") for row in event["calls"]]
    assert max(Counter(row[0] for row in rows).values(), default=1) == 1
    return {row[0]: row[1:] for row in rows}


def test_accepted_calls_share_events_and_a_stop_loses_none_of_them(environ, tmp_path):
    log_path = tmp_path / "log"
    refs, done = [], threading.Semaphore(0)

    def call(api):
        headers = {"Authorization": f"Bearer {api.key}", "Prefer": "respond-async"}
        with requests.Session() as session:
            for number in range(100 * CALLS):
                try:
                    answer = session.post(f"{api.url}/v1/webhooks/order/trigger", headers=headers, json={}, timeout=10)
                except requests.RequestException:
                    return  # the API has stopped
                if answer.status_code == 202:
                    refs.append(answer.json()["referenceId"])
                if number == CALLS:
                    done.release()

    with log_path.open("wb") as log, running_api(environ, log=log) as api:
        callers = [threading.Thread(target=call, args=(api,)) for _ in range(CALLERS)]
        for caller in callers:
            caller.start()
        for _ in callers:
            assert done.acquire(timeout=60)
        api.process.terminate()  # while they call
        for caller in callers:
            caller.join()
        api.process.wait(30)
    rows = accepted_calls(log_path)
    assert set(refs) <= set(rows)
    status, took_ms, plugin, _ = rows[refs[0]]
    assert (status, plugin) == (202, "acme")
    assert took_ms > 0
    assert len(events(log_path, "calls_accepted")) < len(rows) / 2


REQUESTS = [  # path, body, status of the answer, code
    ("/v1/webhooks/order/trigger", {"data": {"a": 1}}, 202, None),
    ("/v1/webhooks/unknown/trigger", {}, 404, "webhook_not_registered"),
    ("/v1/webhooks/order/trigger", {"headers": 5}, 422, "request_rejected"),
    ("/v1/triggers", [{"webhookId": "order"}], 202, None),
]


def test_each_request_is_in_one_event(environ, tmp_path):
    log_path = tmp_path / "log"
    gathered, alone = [], []
    with log_path.open("wb") as log, running_api(environ, log=log) as api:
        for path, body, status, code in REQUESTS:
            answer = api.call("POST", path, json=body, headers={"Prefer": "respond-async"})
            assert answer.status_code == status, answer.text
            ref = answer.json().get("referenceId")
            if ref is not None and code is None:
                gathered.append(ref)
            else:
                alone.append((status, code, ref))
        wait_until(lambda: accepted_calls(log_path), 10)  # without a stop
    assert list(accepted_calls(log_path)) == gathered
    assert [(each["status"], each["code"], each["reference_id"]) for each in _posts(log_path)] == alone


def _posts(log_path):
    return [each for each in events(log_path, "request") if each["method"] == "POST"]
