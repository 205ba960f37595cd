"""Every row of the table of hostile inputs gets its verdict where it would enter: the API, the command, or the guard.

No worker runs here, so accepted calls are not sent.
"""

from __future__ import annotations

import json
import os
import subprocess

import pytest
from click.testing import CliRunner

from relay.cli import main
from relay.domain.invocation import Outcome, Sent
from relay.egress import AddressPolicy
from tests.conftest import own_valkey
from tests.e2e.conftest import relay_command
from tests.integration.api_harness import environ_for, running_api
from tests.outbound import calling
from tests.unit.test_hostile_cases import TABLE, body, rows

PLUGIN = "lab"
HOST = "hook.vendor.test"
REFUSALS = {400: "malformed_json", 422: "request_rejected"}


@pytest.fixture(scope="module")
def lab():
    """An API with the settings of the table, whose fixtures the command has registered."""
    with own_valkey() as server:
        given = environ_for(f"redis://127.0.0.1:{server.port}/0", RELAY_EXTRA_SUFFIXES="test", RELAY_EGRESS_ALLOW="")
        with running_api(given) as running:
            lab = Lab(running, given, server.data_dir)
            assert lab.apply(TABLE["fixtures"]["registrations"]).exit_code == 0
            lab.key = running.runtime.api_keys.create(PLUGIN, ["trigger", "operate"])[0]
            yield lab


class Lab:
    def __init__(self, running, environ, directory):
        self.api = running
        self.environ = environ
        self.directory = directory
        self.key = ""

    def command(self, *arguments, text=""):
        """Run a command in this process, because a separate one would take half a second for each row."""
        whole = ["--data-dir", str(self.directory / "none"), *arguments, "--output", "json"]
        return CliRunner().invoke(main, whole, input=text, env=self.environ)

    def apply(self, registration):
        return self.command("webhooks", "apply", "-", "--plugin", PLUGIN, text=json.dumps(registration))

    def registered(self):
        return json.loads(self.command("webhooks", "list", "--plugin", PLUGIN).stdout)

    def trigger(self, webhook_id, body):
        headers = {"Content-Type": "application/json", "Prefer": "respond-async"}
        path = f"/v1/webhooks/{webhook_id}/trigger"
        return self.api.call("POST", path, key=self.key, data=body, headers=headers)


@pytest.mark.parametrize("row", rows("trigger"))
def test_a_trigger_row_gets_its_verdict_at_the_door(lab, row):
    lab.api.drain()
    answered = lab.trigger(row["webhook"], body(row))
    if row["accept"]:
        assert answered.status_code == 202, answered.text
        assert lab.api.taken() == [answered.json()["referenceId"]]
        return
    problem = answered.json()
    assert answered.headers["Content-Type"] == "application/problem+json"
    assert REFUSALS.get(answered.status_code) == problem["code"]
    assert (problem["status"], bool(problem["detail"])) == (answered.status_code, True)
    if answered.status_code == 422:
        assert problem["errors"]
        record = lab.api.call("GET", f"/v1/invocations/{problem['referenceId']}", key=lab.key).json()
        assert (record["state"], record["requestBytes"], record["result"]) == ("rejected", 0, None)
    assert not lab.api.queue.exists("interactive", "bulk")  # nothing is published
    _shows_nothing(answered.text)


@pytest.mark.parametrize("row", rows("trigger"))
def test_a_trigger_row_gets_the_same_verdict_as_an_item_of_many(lab, row):
    sent = body(row)
    line = sent  # a text that is not an object is not a valid item either
    if sent.startswith(b"{"):
        rest = sent[1:].lstrip()
        line = f'{{"webhookId":"{row["webhook"]}"'.encode() + (b"" if rest.startswith(b"}") else b",") + rest
    headers = {"Content-Type": "application/x-ndjson"}
    answered = lab.api.call("POST", "/v1/triggers", key=lab.key, data=line + b"\n", headers=headers)
    if not line.strip():
        assert answered.json()["results"] == []
        return
    assert answered.status_code == 202, answered.text
    (result,) = answered.json()["results"]
    assert ("referenceId" in result) == row["accept"]
    if not row["accept"]:
        assert result["problem"]["code"] in REFUSALS.values()
        _shows_nothing(answered.text)


@pytest.mark.parametrize("row", rows("registration"))
def test_a_registration_row_gets_its_verdict_from_the_command(lab, row):
    before = lab.registered()
    done = lab.apply(row["registration"])
    assert (done.exit_code == 0) == row["accept"], done.output
    if row["accept"]:
        lab.apply(TABLE["fixtures"]["registrations"])
        return
    assert done.exit_code == 2
    assert done.stderr.strip()
    assert lab.registered() == before
    _shows_nothing(done.output, row["registration"])


def test_a_refused_webhook_takes_the_whole_document_with_it(lab):
    before = lab.registered()
    refused = next(row for row in TABLE["cases"] if row["kind"] == "registration" and not row["accept"])
    good = {"id": "would-be-new", "url": f"https://{HOST}/new", "method": "POST"}
    assert lab.apply([good, refused["registration"]]).exit_code == 2
    assert lab.registered() == before


@pytest.mark.parametrize("accept", [True, False])
def test_the_command_as_a_process_of_its_own_says_the_same(lab, accept):
    row = next(row for row in TABLE["cases"] if row["kind"] == "registration" and row["accept"] is accept)
    before = lab.registered()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RELAY_")}
    command = [relay_command(), "webhooks", "apply", "-", "--plugin", PLUGIN]
    done = subprocess.run(
        command,
        input=json.dumps(row["registration"]),
        capture_output=True,
        text=True,
        env=inherited | lab.environ,
        check=False,
    )
    assert done.returncode == (0 if accept else 2)
    if accept:
        lab.apply(TABLE["fixtures"]["registrations"])
    else:
        assert lab.registered() == before


@pytest.mark.parametrize(
    "row", [row for row in rows("addresses", accept=False) if "scope" not in row.values[0]["about"]]
)
def test_a_refused_address_is_not_dialled_by_the_sender(row):
    policy = AddressPolicy()
    refused = [address for address in row["addresses"] if not policy.allows(address, 443, HOST)]
    shown = ",".join(f"[{address}]" if ":" in address else address for address in refused)
    with calling(policy, resolve=[f"{HOST}:443:{shown}"]) as caller:
        told = caller.call(f"https://{HOST}/v2/orders", timeout_s=2)
    assert (told.outcome, told.sent, told.status) == (Outcome.ADDRESS_REFUSED, Sent.NO, 0)


def _shows_nothing(text, registration=None):
    """Check that a refusal reveals neither the target, nor a secret, nor the refused value."""
    fixture = TABLE["fixtures"]["registrations"][0]
    secrets = [HOST, "/v2/orders", "acme-0001", fixture["headers"]["Authorization"].removeprefix("Bearer ")]
    if registration and len(str(registration.get("url", ""))) > 8:
        secrets.append(registration["url"])
    assert not [secret for secret in secrets if secret in text]
