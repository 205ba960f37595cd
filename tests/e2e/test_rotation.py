"""Key rotation while calls run: in each step some processes know more keys than others; everything stays readable."""

from __future__ import annotations

import shutil
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests

from tests.e2e.conftest import PLUGIN, RunningRelay, start_relay, stop_relay

WAYS = {
    "step by step": ("status", "add", "promote", "reseal", "retire", "status"),
    "in one go": ("status", "rotate", "status"),
}


@dataclass
class Caller:
    """A plugin's API key and webhook."""

    relay: RunningRelay
    key: str

    def post(self, document, **headers):
        sent = {"Authorization": f"Bearer {self.key}", **headers}
        return requests.post(f"{self.relay.base_url}/v1/webhooks/echo/trigger", json=document, headers=sent, timeout=60)

    def data_of(self, reference_id):
        sent = {"Authorization": f"Bearer {self.key}"}
        record = requests.get(f"{self.relay.base_url}/v1/invocations/{reference_id}", headers=sent, timeout=60).json()
        return record["result"]["data"]


@dataclass
class Load:
    """Sends triggers one after another until it is stopped."""

    caller: Caller
    answers: list = field(default_factory=list)  # status and body
    stopped: threading.Event = field(default_factory=threading.Event)

    def run(self):
        while not self.stopped.wait(0.02):
            with self.caller.post({"data": {"n": len(self.answers)}}) as answer:
                self.answers.append((answer.status_code, answer.json()))


@pytest.fixture(scope="module")
def caller(endpoint):
    directory = Path(tempfile.mkdtemp(prefix="rly"))
    process, relay = start_relay(directory / "d")
    try:
        relay.apply(PLUGIN, [{"id": "echo", "url": f"{endpoint.base_url}/echo", "method": "POST"}])
        yield Caller(relay, relay.create_key(PLUGIN))
    finally:
        stop_relay(process)
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module", params=WAYS)
def rotated(caller, request):
    """A relay whose rings were rotated under load, each step's output, and an earlier call with its idempotency key."""
    once = {"Idempotency-Key": request.param.replace(" ", "-")}
    first = caller.post({"data": "first"}, **once).json()
    load = Load(caller)
    thread = threading.Thread(target=load.run)
    thread.start()
    try:
        shown = {f"{number} {step}": caller.relay.cli("vault", step) for number, step in enumerate(WAYS[request.param])}
    finally:
        load.stopped.set()
        thread.join()
    return caller, load, shown, (first, once)


def test_no_call_fails_at_any_step(rotated):
    _, load, _, _ = rotated
    assert len(load.answers) > 6
    assert {(code, body.get("status")) for code, body in load.answers} == {(200, 200)}


def test_the_old_keys_are_gone_and_nothing_is_sealed_under_them(rotated):
    _, _, shown, _ = rotated
    before, *between, after = shown.values()
    assert len(before) == len(after) == 2
    assert {row["key"] for row in before}.isdisjoint(row["key"] for row in after)
    (resealed,) = (each for each in between if "resealed" in each)
    assert resealed["resealed"] > 0
    assert resealed["unreadable"] == 0


def test_every_result_of_before_can_still_be_read(rotated):
    caller, load, _, (first, _) = rotated
    for reference_id in [first["referenceId"], *[body["referenceId"] for _, body in load.answers]]:
        assert caller.data_of(reference_id) is not None


def test_an_idempotency_key_of_before_is_still_recognised(rotated):
    caller, _, _, (first, once) = rotated
    assert caller.post({"data": "first"}, **once).json()["referenceId"] == first["referenceId"]
    assert caller.post({"data": "other"}, **once).json()["code"] == "idempotency_key_reused"


def test_api_keys_and_webhooks_of_before_are_still_believed(rotated):
    caller, *_ = rotated
    assert [row["id"] for row in caller.relay.cli("webhooks", "list", "--plugin", PLUGIN)] == ["echo"]
    assert {row["plugin"] for row in caller.relay.cli("keys", "list")} == {PLUGIN}
    levels = {row["check"]: row["level"] for row in caller.relay.cli("doctor")}
    assert levels["keys"] == levels["registrations"] == "ok"
