"""The telehealth example against real services: one reference id and one answer, whatever happens to the workers."""

from __future__ import annotations

import base64
import json
import re
import threading
from pathlib import Path

import psutil
import pytest
from standardwebhooks import Webhook

from tests.e2e.harness import open_harness
from tests.processes import command_line
from tests.receivers import JPEG, raw_answer

EXAMPLE = (Path(__file__).parents[2] / "examples" / "telehealth" / "webhooks.txt").read_text()
SIGNING_SECRET = re.search(r"whsec_[\w+/=]+", EXAMPLE)[0]
CLIENT_KEY = re.search(r"bk_live_\w+", EXAMPLE)[0]
TOKEN = "t0ken-of-the-session-3f9a"
PARTIES = [{"address": f"{name}@clinic.example.com"} for name in ("doctor", "nurse", "carer")]
ANSWER = {"appointment": "a-7", "photo": "ph-1", "told": 3}
STEPS = ("booking-login", "booking-appointment", "imaging-photo", "notify-party")
DATA = {"patient": "p-1001", "photo": base64.b64encode(JPEG).decode()}


class Services:
    """The three services. Each page checks its request, echoes secrets that it should not, and records its callers."""

    def __init__(self, site):
        self.site = site
        self.calls = {step: [] for step in STEPS}  # the webhook-ids that each page received
        self.faults = []
        self.meet = None  # a barrier at which the messages of one chain meet
        self.interrupt = None  # (step, moment, what to do), done once
        pages = {"/sessions": 0, "/appointments/next": 1, "/photos": 2, "/messages": 3}
        for path, number in pages.items():
            site.page(path, lambda connection, request, step=STEPS[number]: self.serve(step, connection, request))

    def serve(self, step, connection, request):
        self.calls[step].append(request.header("webhook-id"))
        try:
            value = getattr(self, step.replace("-", "_"))(request)
        except Exception as error:  # noqa: BLE001 - the error fails the test, not the service
            self.faults.append(f"{step}: {error!r}")
            connection.send(raw_answer(500, b"{}", ("Content-Type", "application/json")))
            return
        self._interrupt(step, "asked")
        connection.send(raw_answer(200, json.dumps(value).encode(), ("Content-Type", "application/json")))
        self._interrupt(step, "answered")

    def _interrupt(self, step, moment):
        if self.interrupt is not None and self.interrupt[:2] == (step, moment):
            _, _, act = self.interrupt
            self.interrupt = None
            act()

    def booking_login(self, request):
        assert request.header("x-client-key") == CLIENT_KEY
        assert json.loads(request.body) == {"scope": "appointments photos"}
        return {"token": TOKEN, "echo": CLIENT_KEY}

    def booking_appointment(self, request):
        self._authorized(request)
        assert request.target.endswith("?patient=p-1001")
        return {"id": "a-7", "parties": PARTIES, "echo": f"Bearer {TOKEN}"}

    def imaging_photo(self, request):
        self._authorized(request)
        assert (request.header("content-type"), request.header("x-appointment")) == ("image/jpeg", "a-7")
        assert request.body == JPEG
        return {"id": "ph-1", "echo": [TOKEN]}

    def notify_party(self, request):
        Webhook(SIGNING_SECRET).verify(request.body, {name.lower(): value for name, value in request.headers})
        message = json.loads(request.body)
        assert (message["template"], message["appointment"]) == ("new-photo", "a-7")
        assert {"address": message["to"]} in PARTIES
        if self.meet is not None:
            self.meet.wait(10)
        return {"ok": True}

    def _authorized(self, request):
        assert request.header("authorization") == f"Bearer {TOKEN}"

    def ids(self):
        """Return how many different invocations called each page."""
        return [len(set(self.calls[step])) for step in STEPS]


@pytest.fixture(scope="module")
def clinic():
    """A separate relay, because these tests kill its worker."""
    with open_harness(RELAY_LEASE_MARGIN="1", RELAY_DEFAULT_WAIT="60") as harness:
        text = re.sub(r"https://\w+\.example\.com", harness.site.origin, EXAMPLE)
        text = text.replace("timeout: 5,", "timeout: 2,")  # so that lost calls are found soon
        harness.relay.cli("webhooks", "apply", "-", text=text)
        yield harness.plugin("telehealth", [])


@pytest.fixture
def services(clinic):
    return Services(clinic.harness.site)


def kill_worker(clinic):
    """Kill the only worker of the chain's lane by SIGKILL; ``relay up`` restarts it."""
    family = psutil.Process(clinic.harness.relay.pid).children(recursive=True)
    (worker,) = [each for each in family if "-Q interactive" in command_line(each)]
    worker.kill()


def send_photo(clinic):
    answered = clinic.trigger("send-photo", {"data": DATA}, "wait=60")
    assert answered.status_code == 200, answered.text
    return answered.json()


def steps_of(clinic, reference_id):
    return [clinic.record(step) for step in clinic.record(reference_id)["chain"]["steps"]]


def test_the_caller_gets_one_id_and_one_answer(clinic, services):
    services.meet = threading.Barrier(3)  # all three messages are sent at once, or none is answered
    answer = send_photo(clinic)
    assert answer == {"referenceId": answer["referenceId"], "status": 200, "data": ANSWER, "error": False}
    assert services.faults == []
    assert [len(services.calls[step]) for step in STEPS] == [1, 1, 1, 3]


def test_each_step_has_a_record_of_its_own_for_operators_alone(clinic, services):
    answer = send_photo(clinic)
    reference_id = answer["referenceId"]
    steps = steps_of(clinic, reference_id)
    assert [step["webhookId"] for step in steps] == [*STEPS, "notify-party", "notify-party"]
    assert [step["chain"]["step"] for step in steps] == [0, 1, 2, 3, 3, 3]
    assert [step["chain"]["item"] for step in steps[3:]] == [0, 1, 2]
    assert {step["chain"]["parent"] for step in steps} == {reference_id}
    assert {step["state"] for step in steps} == {"delivered"}
    seen = clinic.call("GET", f"/v1/invocations/{reference_id}").json()
    assert "chain" not in seen
    assert not [step for step in STEPS if step in json.dumps(seen)]


def test_a_token_of_one_step_is_in_nothing_that_leaves_the_relay(clinic, services):
    reference_id = send_photo(clinic)["referenceId"]
    shown = [clinic.record(reference_id), *steps_of(clinic, reference_id)]
    shown += [clinic.harness.relay.cli("invocations", "show", each["referenceId"]) for each in shown]
    for secret in (TOKEN, CLIENT_KEY, SIGNING_SECRET):
        assert secret not in json.dumps(shown)


def test_the_hidden_steps_do_not_exist_for_the_plugin(clinic, services):
    for step in STEPS:
        assert clinic.trigger(step).json()["code"] == "webhook_not_registered"
    assert [len(calls) for calls in services.calls.values()] == [0, 0, 0, 0]


@pytest.mark.parametrize("moment", ["asked", "answered"])
@pytest.mark.parametrize("step", STEPS)
def test_a_kill_of_the_worker_at_a_step_changes_nothing_for_the_caller(clinic, services, step, moment):
    services.interrupt = (step, moment, lambda: kill_worker(clinic))
    answer = send_photo(clinic)
    assert answer == {"referenceId": answer["referenceId"], "status": 200, "data": ANSWER, "error": False}
    assert services.interrupt is None
    assert services.faults == []
    assert services.ids() == [1, 1, 1, 3]  # a step is created once; a repeated call keeps its id
    if moment == "asked":  # the asking worker was killed before the answer
        assert len(services.calls[step]) > len(set(services.calls[step]))
    steps = steps_of(clinic, answer["referenceId"])
    assert len(steps) == 6
    assert {each["state"] for each in steps} == {"delivered"}


def test_a_party_that_cannot_be_told_shows_in_the_answer(clinic, services):
    tell, told = services.notify_party, []

    def refuse_the_second(request):
        told.append(request)
        assert json.loads(request.body)["to"] != PARTIES[1]["address"], "planned"
        return tell(request)

    services.notify_party = refuse_the_second
    answer = send_photo(clinic)
    assert (answer["status"], answer["error"]) == (500, True)
    assert answer["data"] == {**ANSWER, "told": 2}
    assert len(told) == 3
