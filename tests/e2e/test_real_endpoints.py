"""What a real API asks for (values in its path, a secret in its body, documents), through a whole relay."""

from __future__ import annotations

import base64
import json

import pytest

from relay.client import Relay
from relay.errors import RequestRejected
from tests.javascript import JavaScript, Node
from tests.receivers import echo
from tests.timing import BUSY_S, wait_until
from tests.tools import require

SECRET = "k7d6e5f4a3b2c1d0e9f8"
ACCOUNT = "m-55500012-of-the-shop"
PDF = b"%PDF-1.7\r\n\x00\xff"
FILE = {"filename": "a.pdf", "contentType": "application/pdf", "content": base64.b64encode(PDF).decode()}
PATIENTS = "/fhir-of-the-hospital/Patient"


@pytest.fixture(scope="module")
def ehr(harness):
    """Make a plugin whose endpoint echoes, below the paths of two patients."""
    site = harness.site
    for patient in ("4711", "%C3%A4%20b"):
        site.page(f"{PATIENTS}/{patient}/Observation", echo)
        site.page(f"{PATIENTS}/{patient}/documents", echo)
    patient = f"{site.origin}{PATIENTS}/{{patientId}}"
    upload = {"patientId": "input.data.id"}
    return harness.plugin(
        "ehr",
        [
            {"id": "observations", "url": f"{patient}/Observation?v=2", "method": "GET", "queryParams": ["code"]},
            {
                "id": "upload",
                "url": f"{patient}/documents",
                "method": "POST",
                "payload": "multipart",
                "fixedData": {"api_key": SECRET},
                "pathParams": {"patientId": {"pattern": ".*"}},
            },
            {
                "id": "charge",
                "url": site.page("/charges-of-the-hospital", echo),
                "method": "POST",
                "fixedData": {"api_key": SECRET, "merchant": {"account": ACCOUNT}},
            },
            {
                "id": "admit",
                "steps": [
                    {"webhook": "observations", "pathParams": upload, "queryParams": {"code": "input.data.code"}},
                    {"webhook": "upload", "forEach": "input.data.files", "pathParams": upload, "data": "{file: item}"},
                ],
                "result": "{seen: steps[0].data.url, sent: steps[1].data[].data.url}",
            },
        ],
    )


@pytest.fixture(scope="module")
def client(ehr):
    with Relay(ehr.harness.url, ehr.key) as made:
        yield made


@pytest.fixture(scope="module")
def script(ehr):
    with Node(require("node")) as node:
        yield JavaScript(node, ehr.harness.url, ehr.key)


def received(ehr, reference_id):
    (request,) = ehr.harness.site.received(reference_id)
    return request


def parts_of(request):
    boundary = request.header("content-type").removeprefix("multipart/form-data; boundary=").encode()
    pieces = request.body.split(b"--" + boundary)
    assert (pieces[0], pieces[-1]) == (b"", b"--\r\n")
    return [piece.strip(b"\r\n").split(b"\r\n\r\n", 1) for piece in pieces[1:-1]]


def assert_document(ehr, reference_id, filename=b"a.pdf", content_type=b"application/pdf"):
    request = received(ehr, reference_id)
    assert request.target == f"{PATIENTS}/4711/documents"
    head, content = next(part for part in parts_of(request) if b'name="file"' in part[0])
    assert head == (
        b'Content-Disposition: form-data; name="file"; filename="' + filename + b'"\r\nContent-Type: ' + content_type
    )
    assert content == PDF
    assert [b'Content-Disposition: form-data; name="api_key"', SECRET.encode()] in parts_of(request)


def test_both_clients_fill_a_path_and_see_their_value_but_not_the_address(ehr, client, script):
    by_python = client.webhooks.trigger("observations", None, None, {"code": "8867-4"}, path_params={"patientId": 4711})
    told = script.call("trigger", "observations", None, None, {"code": "8867-4"}, {"pathParams": {"patientId": "4711"}})
    for answer in (by_python, told["value"]):
        assert (answer["status"], answer["error"]) == (200, False)
        assert received(ehr, answer["referenceId"]).target == f"{PATIENTS}/4711/Observation?v=2&code=8867-4"
        shown = answer["data"]["url"]
        assert "/4711" in shown
        assert "hospital" not in shown
        assert "Observation" not in shown
        assert "127.0.0.1" not in json.dumps(answer)


def test_what_does_not_fit_is_refused_with_its_place_and_nothing_is_sent(ehr, client, script):
    sent = len(ehr.harness.site.served.requests)
    refused = ehr.trigger("upload", {"pathParams": {"patientId": "..", "x": 1}, "data": {"api_key": "mine", "f": True}})
    assert refused.status_code == 422
    assert refused.json()["code"] == "request_rejected"
    pointers = {fault["pointer"] for fault in refused.json()["errors"]}
    assert pointers == {"/pathParams/patientId", "/pathParams/x", "/data/api_key", "/data/f"}
    with pytest.raises(RequestRejected) as error:
        client.webhooks.trigger("observations")
    assert [fault.pointer for fault in error.value.faults] == ["/pathParams/patientId"]
    error = script.call("trigger", "charge", {"merchant": {"account": "mine"}})["error"]
    assert [fault["pointer"] for fault in error["errors"]] == ["/data/merchant/account"]
    assert len(ehr.harness.site.served.requests) == sent


def test_both_clients_send_documents_and_the_secret_beside_them_is_masked(ehr, client, script, tmp_path):
    path = tmp_path / "a.pdf"
    path.write_bytes(PDF)
    with path.open("rb") as file:
        answer = client.webhooks.trigger("upload", {"title": "x", "file": file}, path_params={"patientId": "4711"})
    assert_document(ehr, answer["referenceId"])
    assert SECRET not in json.dumps(answer)
    assert 'name="api_key"\r\n\r\n[redacted]' in answer["data"]["data"]
    form = {"$form": [["title", "x"], ["file", {"$blob": FILE["content"]}, 'b"\n.pdf']]}
    told = script.call("trigger", "upload", form, None, None, {"pathParams": {"patientId": "4711"}})
    assert_document(ehr, told["value"]["referenceId"], b"b%22%0A.pdf", b"application/octet-stream")


def test_fixed_members_are_merged_and_neither_shown_nor_stored_in_the_clear(ehr, client):
    answer = client.webhooks.trigger("charge", {"amount": 5, "merchant": {"reference": "r-1"}})
    body = json.loads(received(ehr, answer["referenceId"]).body)
    assert body == {"amount": 5, "api_key": SECRET, "merchant": {"reference": "r-1", "account": ACCOUNT}}
    shown = json.loads(answer["data"]["data"])
    assert shown == {"amount": 5, "api_key": "[redacted]", "merchant": {"reference": "r-1", "account": "[redacted]"}}
    files = [path for path in ehr.harness.relay.data_dir.rglob("*") if path.is_file() and path.stat().st_size]
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]


def test_many_triggers_and_an_idempotency_key_know_the_path(ehr, client):
    item = {"webhook_id": "observations", "path_params": {"patientId": "4711"}, "idempotency_key": "path-1"}
    one, again, other, bad = client.webhooks.trigger_many(
        [item, item, {**item, "path_params": {"patientId": "4712"}}, {"webhookId": "observations"}]
    )
    assert one["referenceId"] == again["referenceId"]
    assert other["problem"]["code"] == "idempotency_key_reused"
    assert bad["problem"]["errors"][0]["pointer"] == "/pathParams/patientId"
    assert client.webhooks.wait(one["referenceId"])["status"] == 200
    assert received(ehr, one["referenceId"]).target == f"{PATIENTS}/4711/Observation?v=2"


def test_a_chain_fills_paths_and_sends_documents(ehr, client):
    answer = client.webhooks.trigger("admit", {"id": "4711", "code": "x", "files": [FILE, FILE]})
    assert (answer["status"], answer["error"]) == (200, False), answer
    assert "/4711" in answer["data"]["seen"]
    assert len(answer["data"]["sent"]) == 2
    assert "hospital" not in json.dumps(answer)
    bad = client.webhooks.trigger("admit", {"id": "../admin", "files": []})
    assert bad["data"]["code"] == "step_rejected"


def test_a_replay_sends_the_same_path_and_document_again(ehr, client):
    told = client.webhooks.trigger("upload", {"file": FILE}, path_params={"patientId": "4711"})
    ehr.harness.relay.cli("replay", "start", told["referenceId"], "--plugin", "ehr")
    wait_until(lambda: ehr.record(told["referenceId"])["replayedBy"], BUSY_S)
    replayed = ehr.record(told["referenceId"])["replayedBy"]
    wait_until(lambda: ehr.record(replayed)["state"] == "delivered", BUSY_S)
    assert_document(ehr, replayed)


def test_the_command_line_fills_explains_and_shows_them(ehr):
    cli = ehr.harness.relay.cli
    filled = ("--path", "patientId=ä b", "--data", json.dumps({"n": 1}))
    answer = cli("trigger", "upload", "--plugin", "ehr", *filled)
    assert received(ehr, answer["referenceId"]).target == f"{PATIENTS}/%C3%A4%20b/documents"
    explained = cli("explain", "upload", "--plugin", "ehr", *filled)
    assert explained["url"] == f"{ehr.harness.site.origin}{PATIENTS}/%C3%A4%20b/documents"
    assert 'name="api_key"\r\n\r\n[redacted]' in explained["body"]["preview"]
    shown = cli("webhooks", "show", "upload", "--plugin", "ehr")
    assert shown["pathParams"] == {"patientId": {"pattern": ".*"}}
    assert shown["fixedData"] == {"api_key": "[redacted]"}
    assert shown["encoding"] == "multipart"
    plan = cli("explain", "admit", "--plugin", "ehr")
    assert plan["steps"][1]["pathParams"] == {"patientId": "input.data.id"}
    assert plan["steps"][1]["request"]["url"].endswith("/{patientId}/documents")


def test_a_plugin_is_told_which_parts_of_the_path_it_fills_and_that_it_sends_documents(ehr, client):
    described = {webhook["id"]: webhook for webhook in client.webhooks.available()}
    assert described["upload"]["pathParams"] == {"patientId": {"pattern": ".*"}}
    assert described["upload"]["payload"] == "multipart"
    assert client.webhooks.describe("upload") == described["upload"]
    assert not {"pathParams", "payload", "fixedData"} & described["charge"].keys()
    assert "api_key" not in json.dumps(described)
