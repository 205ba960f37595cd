"""`relay webhooks test`, run as a command against a real receiver, with no worker beside it."""

import json
import os
import signal
import subprocess
import sys

import pytest

from tests.receivers import answer, closed_port, echo, json_answer, make_authority, receiver, slow
from tests.timing import ANSWER_S, wait_until
from tests.unit.cli import a_webhook
from tests.unit.forked_command import run_command

SECRET = "Bearer planted-secret-value"


@pytest.fixture
def call(cli, tmp_path):
    """Register a webhook of that URL and run the command; return its exit status and what it printed."""

    def run(url, *arguments, environ=(), **changes):
        settings = {**cli.environ, "RELAY_EGRESS_ALLOW": "127.0.0.0/8", **dict(environ)}
        text = json.dumps(a_webhook(url=url, **changes))
        applied = cli.run("webhooks", "apply", "-", "--plugin", "acme", text=text, environ=settings)
        assert applied.exit_code == 0, applied.output
        place = ["--data-dir", str(tmp_path)]
        command = [*place, "webhooks", "test", "ping", "--plugin", "acme", *arguments]
        return run_command(command, {**os.environ, **settings}, tmp_path)

    return run


def test_one_call_is_made_recorded_and_shown_masked_with_its_times(call, cli):
    with receiver(slow(0.2, echo)) as endpoint:
        code, out, _ = call(
            f"{endpoint.url}/planted-path", "--data", '{"a": 1}', "--header", "X-Note=hi", "--output", "json"
        )
        assert [request.body for request in endpoint.requests] == [b'{"a":1}']
    shown = json.loads(out)
    assert code == 0
    assert "planted-secret-value" not in out
    assert out.count("[redacted]") >= 2  # in the request and in its echo
    assert (shown["state"], shown["outcome"], shown["result"]["status"]) == ("delivered", "answered", 200)
    times = shown["answer"]["timings"]
    assert times["firstByteMs"] >= 200
    assert times["totalMs"] >= times["firstByteMs"] + times["connectMs"] - 1  # rounded
    assert times["tlsMs"] is None
    record = cli.json("invocations", "show", shown["referenceId"])
    assert (record["state"], record["caller"], len(record["attempts"])) == ("delivered", "cli", 1)


@pytest.mark.parametrize("timeout_s", [2, 7])
def test_a_call_is_waited_for_as_long_as_its_registration_lets_it_take(cli, monkeypatch, timeout_s):
    cli.apply(a_webhook(timeout=timeout_s))
    waits = []

    def run_once(_executor, store, _publish, reference_id, **wait):
        waits.append(wait)
        return store.find(reference_id)

    monkeypatch.setattr("relay.executor.single.run_once", run_once)
    assert cli.run("webhooks", "test", "ping", "--plugin", "acme").exit_code == 1
    assert waits == [{"timeout_s": timeout_s}]


def test_over_tls_the_handshake_has_its_own_time(call, tmp_path):
    authority = make_authority(tmp_path)
    with receiver(json_answer({"ok": True}), tls=authority.context("localhost")) as endpoint:
        url = f"https://localhost:{endpoint.port}/planted-path"
        allowed = {"RELAY_EGRESS_ALLOW": "localhost,127.0.0.0/8", "RELAY_CA_FILE": authority.ca_file}
        code, out, err = call(url, environ=allowed)
    assert code == 0, err
    assert " tls " in out
    assert "first byte" in out
    assert "HTTP 200" in out
    assert all(len(line) <= 80 for line in out.splitlines() if "webhook-id" not in line)


def test_an_answer_without_a_body_is_shown_as_its_status_and_headers_alone(call):
    with receiver(answer(204, b"", ("X-Request-Id", "abc"))) as endpoint:
        code, out, _ = call(f"{endpoint.url}/x")
    _, _, told = out.partition("HTTP 204\n")
    assert (code, told.split("\n\n")[0]) == (0, "Content-Length: 0")
    assert "null" not in out


def test_an_endpoint_that_fails_is_called_once_whatever_its_registration_retries(call, cli):
    with receiver(json_answer({"error": "down"}, 503)) as endpoint:
        code, out, _ = call(f"{endpoint.url}/x", "--output", "json", retry={"attempts": 5, "initial": 0.1})
        assert len(endpoint.requests) == 1
    assert code == 1
    assert json.loads(out)["state"] == "cancelled"  # the retry after the first attempt is cancelled
    assert json.loads(out)["outcome"] == "answered"
    assert cli.json("invocations", "list", "--plugin", "acme", "--state", "retrying") == []


def test_an_endpoint_that_is_not_there_is_said_with_what_was_found_out(call):
    code, out, _ = call(f"http://127.0.0.1:{closed_port()}/x", "--output", "json")
    assert code == 1
    assert (json.loads(out)["outcome"], json.loads(out)["state"]) == ("connect_failed", "unreachable")
    assert json.loads(out)["answer"]["timings"]["firstByteMs"] is None


def test_a_webhook_without_an_access_token_gets_one_before_its_only_attempt(call):
    granted = json_answer({"access_token": "planted-token-0123456789", "token_type": "Bearer", "expires_in": 3600})
    with receiver(granted) as login, receiver(echo) as endpoint:
        auth = {"type": "oauth2", "clientId": "client-1", "clientSecret": "planted-secret-value", "tokenUrl": login.url}
        code, out, err = call(f"{endpoint.url}/x", "--output", "json", headers={}, auth=auth)
        assert code == 0, err
        assert (len(login.requests), len(endpoint.requests)) == (1, 1)
    assert json.loads(out)["state"] == "delivered"
    assert "planted-token-0123456789" not in out


def test_credentials_that_get_no_access_token_end_the_only_attempt_with_what_is_wrong(call):
    with receiver(json_answer({"error": "invalid_client"}, 401)) as login, receiver(echo) as endpoint:
        auth = {"type": "oauth2", "clientId": "client-1", "clientSecret": "planted-secret-value", "tokenUrl": login.url}
        code, out, _ = call(f"{endpoint.url}/x", "--output", "json", headers={}, auth=auth)
        assert (len(login.requests), endpoint.requests) == (1, [])
    assert (code, json.loads(out)["outcome"]) == (1, "prepare_failed")
    assert json.loads(out)["answer"] is None  # not that of the token endpoint


def test_a_paused_webhook_is_not_called_and_says_so(call, cli):
    with receiver(echo) as endpoint:
        call(f"{endpoint.url}/x")
        cli.json("webhooks", "pause", "ping", "--plugin", "acme")
        code, out, _ = call(f"{endpoint.url}/x")
        assert len(endpoint.requests) == 1
    assert code == 1
    assert "Nothing was sent" in out


def test_what_does_not_fit_and_chains_are_refused_before_anything_is_sent(call, cli):
    with receiver(echo) as endpoint:
        code, out, _ = call(f"{endpoint.url}/x", "--query", "nope=1", "--output", "json")
        assert (code, json.loads(out)["code"]) == (1, "request_rejected")
        assert endpoint.requests == []
    cli.apply({"id": "chain", "steps": [{"webhook": "ping"}]})
    refused = cli.json("webhooks", "test", "chain", "--plugin", "acme", exit_code=2)
    assert "A chain sends nothing itself" in refused["message"]


@pytest.mark.parametrize("command", [("trigger", "ping", "--wait", "600"), ("webhooks", "test", "ping")], ids=" ".join)
def test_after_ctrl_c_a_call_is_named_and_nothing_else_is_said(cli, command):
    with receiver(slow(600, echo)) as endpoint:
        environ = {**os.environ, **cli.environ, "RELAY_EGRESS_ALLOW": "127.0.0.0/8"}
        text = json.dumps(a_webhook(url=f"{endpoint.url}/x"))
        cli.run("webhooks", "apply", "-", "--plugin", "acme", text=text, environ=environ)
        program = [sys.executable, "-c", "from relay.cli import main; main()", "--data-dir", str(cli.directory)]
        with subprocess.Popen(
            [*program, *command, "--plugin", "acme"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environ,
            text=True,
        ) as process:
            sent = command[0] == "webhooks"
            wait_until(lambda: endpoint.requests if sent else cli.json("invocations", "list", "--plugin", "acme"))
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=ANSWER_S)
    (row,) = cli.json("invocations", "list", "--plugin", "acme")
    said = f"If the call was accepted, it is not undone: relay invocations show {row['referenceId']}"
    assert (process.returncode, out, err.split("\n")) == (1, "", [said, "", "Aborted!", ""])
