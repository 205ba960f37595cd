"""Sends every trigger of the table of hostile inputs to the real API."""

import base64
import json
from pathlib import Path

import pytest

from relay.domain.invocation import State
from tests.integration.test_api_triggers import problem

TABLE = json.loads((Path(__file__).parents[1] / "hostile-cases.json").read_text("utf-8"))
TRIGGERS = [case for case in TABLE["cases"] if case["kind"] == "trigger"]


@pytest.fixture(scope="module")
def lab(running):
    running.register("acme", json.dumps(TABLE["fixtures"]["registrations"]))
    return running


def body_of(case):
    if "raw" in case:
        return case["raw"].encode()
    if "raw_b64" in case:
        return base64.b64decode(case["raw_b64"])
    return json.dumps(case["body"]).encode()


@pytest.mark.parametrize("case", TRIGGERS, ids=[f"{case['id']} {case['about']}" for case in TRIGGERS])
def test_a_trigger_of_the_table_gets_its_verdict(lab, case):
    lab.drain()
    headers = {"Content-Type": "application/json", "Prefer": "respond-async"}
    answer = lab.call("POST", f"/v1/webhooks/{case['webhook']}/trigger", data=body_of(case), headers=headers)
    if case["accept"]:
        assert answer.status_code == 202, answer.text
        assert lab.taken() == [answer.json()["referenceId"]]
        return
    code = {400: "malformed_json", 422: "request_rejected"}[answer.status_code]
    document = problem(answer, answer.status_code, code)
    assert lab.queue.llen("bulk") == 0
    if code == "request_rejected":
        assert document["errors"]
        assert lab.store.get("acme", document["referenceId"]).state is State.REJECTED
    assert "vendor" not in answer.text
    assert "sk-live" not in answer.text
