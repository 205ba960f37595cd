import json
import threading
import time
from datetime import datetime
from types import SimpleNamespace

import pytest

from relay.domain.invocation import Attempt, Outcome, Sent, State
from relay.domain.reference_id import new_reference_id
from relay.errors import WebhookNotRegistered
from relay.store.ledger.listing import Filter
from relay.store.ledger.transitions import Settlement
from relay.vault import payload_owner, result_owner
from tests.store_keys import KEYS
from tests.unit.cli import a_webhook
from tests.unit.test_rows import FIELDS


def settle(cli, reference_id, *, data=None, state=State.DELIVERED, outcome=Outcome.ANSWERED, status=200):
    """Claim and settle an invocation as a worker does, without sending it."""
    runtime = cli.runtime()
    sealed = b"" if data is None else runtime.data_vault.seal(data, result_owner("acme", reference_id))
    rejected = state is State.REJECTED
    attempt = None if rejected else Attempt(1, 1_700_000_000_000, 12, status, outcome, Sent.ANSWERED)
    runtime.store.claim([reference_id], "token")
    final = {"status": None, "error": None} if rejected else {"status": status, "error": status >= 400 or not status}
    settlement = Settlement(reference_id, "token", state, outcome, attempt=attempt, result=sealed, **final)
    assert runtime.store.settle([settlement]).verdicts == (True,)


@pytest.fixture
def cli(cli):
    cli.apply(a_webhook())
    return cli


@pytest.fixture
def worker(cli):
    """Settles every triggered invocation as the test demands."""
    listing, stop, answer = cli.runtime().listing, threading.Event(), {}

    def work():
        while not stop.is_set():
            for invocation in listing.page("acme", Filter(states=frozenset({State.QUEUED}))).rows:
                settle(cli, invocation.reference_id, **answer)
            time.sleep(0.02)

    thread = threading.Thread(target=work)
    thread.start()
    yield answer
    stop.set()
    thread.join()


def trigger(cli, *arguments, exit_code=0, text=None):
    return cli.json("trigger", "ping", "--plugin", "acme", *arguments, exit_code=exit_code, text=text)


def show(cli, reference_id):
    return cli.json("invocations", "show", reference_id)


def test_an_asynchronous_trigger_gives_reference_id_and_state(cli):
    accepted = trigger(cli, "--async")
    assert list(accepted) == ["referenceId", "state"]
    assert accepted["state"] == "queued"
    assert show(cli, accepted["referenceId"])["caller"] == "cli"


@pytest.mark.parametrize("more", [(), ("--async",), ("--wait", "900"), ("--subject", "patient-1", "--wait", "1")])
def test_a_delayed_trigger_is_not_waited_for(cli, monkeypatch, more):
    monkeypatch.setattr("relay.cli.trigger.time", SimpleNamespace(monotonic=time.monotonic))  # it cannot sleep
    accepted = trigger(cli, "--delay", "60", *more)
    assert (list(accepted), accepted["state"]) == (["referenceId", "state"], "queued")
    record = show(cli, accepted["referenceId"])
    created, earliest = (datetime.fromisoformat(record[name]) for name in ("createdAt", "notBefore"))
    assert (earliest - created).total_seconds() == 60


def test_a_call_that_is_cancelled_while_it_is_waited_for_says_so(cli, monkeypatch):
    def cancel(_s):
        (row,) = cli.runtime().listing.page("acme", Filter(states=frozenset({State.QUEUED}))).rows
        cli.runtime().store.cancel(row.reference_id)

    monkeypatch.setattr("relay.cli.trigger.time", SimpleNamespace(monotonic=time.monotonic, sleep=cancel))
    said = trigger(cli, exit_code=1)
    assert said["code"] == "cancelled"
    assert cli.json("invocations", "show", said["referenceId"])["state"] == "cancelled"


def test_an_answer_that_does_not_open_fails_a_trigger_and_names_the_call_that_was_made(cli, monkeypatch):
    def answer(_s):
        (row,) = cli.runtime().listing.page("acme", Filter(states=frozenset({State.QUEUED}))).rows
        settle(cli, row.reference_id, data=b'"planted"')
        cli.runtime().client.set(KEYS.result(row.reference_id), b"nothing that was sealed")

    monkeypatch.setattr("relay.cli.trigger.time", SimpleNamespace(monotonic=time.monotonic, sleep=answer))
    said = trigger(cli, exit_code=1)
    assert (said["code"], "`relay invocations show`" in said["message"]) == ("vault", True)
    shown = cli.run("invocations", "show", said["referenceId"], "--output", "json")
    assert "The answer's data are left out" in shown.stderr
    assert json.loads(shown.stdout)["result"] == {"status": 200, "data": None, "error": False}


def test_a_trigger_gives_the_four_members(cli, worker):
    worker.update(data=b'{"big": 123456789012345678901234567890}')
    result = trigger(cli, "--data", '{"a": 1}')
    assert list(result) == ["referenceId", "status", "data", "error"]
    assert result["data"] == {"big": 123456789012345678901234567890}
    assert (result["status"], result["error"]) == (200, False)


def test_an_endpoint_that_fails_is_a_result_and_no_failure(cli, worker):
    worker.update(state=State.UNREACHABLE, outcome=Outcome.CONNECT_TIMEOUT, status=0)
    result = trigger(cli)
    assert (result["status"], result["error"], result["data"]["code"]) == (0, True, "timeout")


def test_a_trigger_that_is_not_finished_in_time_gives_its_state(cli):
    result = trigger(cli, "--wait", "0.1")
    assert list(result) == ["referenceId", "state"]
    assert result["state"] == "queued"


def test_data_headers_and_query_reach_the_record_sealed(cli):
    reference_id = trigger(cli, "--async", "--data", '"text"', "--header", "x-note=a=b", "--query", "page=2")[
        "referenceId"
    ]
    runtime = cli.runtime()
    sealed = runtime.store.payload_of(reference_id)
    purpose = runtime.store.find(reference_id).purpose
    stamp = runtime.registry.revision("acme", purpose.webhook_id, purpose.revision).stamp
    owner = payload_owner("acme", reference_id, purpose, stamp)
    payload = json.loads(runtime.data_vault.open(sealed, owner))
    assert payload["data"] == "text"
    assert payload["headers"] == {"X-Note": "a=b"}
    assert payload["queryParams"] == {"page": "2"}


def test_data_may_come_from_a_file_or_from_standard_input(cli, tmp_path):
    file = tmp_path / "data.json"
    file.write_text('{"from": "file"}')
    assert trigger(cli, "--async", "--data", f"@{file}")["state"] == "queued"
    assert trigger(cli, "--async", "--data", "-", text='{"from": "stdin"}')["state"] == "queued"


@pytest.mark.parametrize(
    "arguments",
    [
        ("--data", "not json"),
        ("--data", '{"a": 1, "a": 2}'),
        ("--data", "@nowhere.json"),
        ("--header", "no-value"),
        ("--header", "=x"),
        ("--query", "page=1", "--query", "page=2"),
        ("--wait", "-1"),
        ("--wait", "nan"),
        ("--delay", "nan"),
    ],
)
def test_a_malformed_trigger_is_wrong_usage_and_leaves_no_record(cli, arguments):
    assert cli.run("trigger", "ping", "--plugin", "acme", *arguments).exit_code == 2
    assert cli.json("invocations", "list", "--plugin", "acme") == []


def test_a_refused_trigger_fails_with_code_faults_and_the_record_that_it_left(cli):
    problem = trigger(cli, "--header", "X-Other=1", "--query", "other=1", exit_code=1)
    assert list(problem) == ["code", "message", "errors", "referenceId"]
    assert problem["code"] == "request_rejected"
    assert problem["errors"]
    assert show(cli, problem["referenceId"])["state"] == "rejected"


@pytest.mark.parametrize("webhook_id", ["unknown", "Not-An-Id", "\x1b[2J"])
def test_a_trigger_of_an_unknown_webhook_fails_and_leaves_a_record(cli, webhook_id):
    result = cli.run("trigger", webhook_id, "--plugin", "acme", "--output", "json")
    assert result.exit_code == 1
    problem = json.loads(result.stdout)
    assert problem["code"] == "webhook_not_registered"
    record = show(cli, problem["referenceId"])
    assert (record["state"], record["revision"], record["result"]) == ("rejected", None, None)
    assert "\x1b" not in result.output


def test_a_trigger_of_a_hidden_webhook_is_refused_as_to_a_plugin_but_not_said_to_name_nothing(cli):
    cli.apply(a_webhook(id="inner", hidden=True))
    problem = cli.json("trigger", "inner", "--plugin", "acme", exit_code=1)
    assert (problem["code"], problem["message"]) == ("webhook_not_registered", WebhookNotRegistered.sentence)
    assert show(cli, problem["referenceId"])["state"] == "rejected"


def test_a_trigger_that_the_worker_rejects_fails_like_one_that_the_door_refuses(cli, worker):
    worker.update(state=State.REJECTED, outcome=Outcome.WEBHOOK_NOT_REGISTERED)
    problem = trigger(cli, exit_code=1)
    assert problem["code"] == "webhook_not_registered"
    assert problem["referenceId"]


def test_a_list_gives_rows_newest_first_without_data(cli):
    references = [trigger(cli, "--async")["referenceId"] for _ in range(3)]
    settle(cli, references[0], data=b'"planted-data"')
    rows = cli.json("invocations", "list", "--plugin", "acme")
    assert [row["referenceId"] for row in rows] == references[::-1]
    assert all(list(row) == FIELDS for row in rows)
    assert rows[2]["result"] == {"status": 200, "error": False}
    assert rows[0]["result"] is None


def test_a_list_is_filtered_by_webhook_state_and_number(cli):
    cli.apply(a_webhook(id="pong"))
    first = trigger(cli, "--async")["referenceId"]
    cli.json("trigger", "pong", "--plugin", "acme", "--async")
    settle(cli, first)

    def listed(*arguments):
        return [row["webhookId"] for row in cli.json("invocations", "list", "--plugin", "acme", *arguments)]

    assert listed("--webhook", "pong") == ["pong"]
    assert listed("--state", "delivered") == ["ping"]
    assert listed("--limit", "1") == ["pong"]
    assert cli.run("invocations", "list", "--plugin", "acme", "--state", "gone").exit_code == 2
    problem = cli.json("invocations", "list", "--plugin", "acne", exit_code=2)
    assert problem["code"] == "bad_parameter"
    assert problem["message"] == "There is no plugin `acne`. Did you mean `acme`?"
    cli.apply(a_webhook(), plugin="other")
    assert cli.json("invocations", "list", "--plugin", "other") == []


def test_show_gives_the_whole_record_with_the_opened_result(cli):
    reference_id = trigger(cli, "--async")["referenceId"]
    settle(cli, reference_id, data=b'{"answer": "yes"}')
    record = show(cli, reference_id)
    assert list(record) == FIELDS
    assert record["result"] == {"status": 200, "data": {"answer": "yes"}, "error": False}
    assert record["attempts"][0]["outcome"] == "answered"


def test_show_escapes_what_an_endpoint_sent(cli):
    reference_id = trigger(cli, "--async")["referenceId"]
    settle(cli, reference_id, data=json.dumps("\x1b]0;owned\x07 [red]markup[/red]").encode())
    shown = cli.run("invocations", "show", reference_id).stdout
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert "[red]markup[/red]" in shown


def test_show_of_a_result_whose_key_is_lost_gives_the_rest_of_the_record(cli):
    reference_id = trigger(cli, "--async")["referenceId"]
    settle(cli, reference_id, data=b'"answer"')
    lost = type(cli)(cli.url, cli.directory)
    result = lost.run("invocations", "show", reference_id, "--output", "json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["result"] == {"status": 200, "data": None, "error": False}
    assert "RELAY_DATA_KEYS" in result.stderr


def test_an_unknown_or_foreign_reference_id_is_not_found(cli):
    reference_id = trigger(cli, "--async")["referenceId"]
    for arguments in ((reference_id, "--plugin", "other"), (new_reference_id("acme"),)):
        assert cli.json("invocations", "show", *arguments, exit_code=1)["code"] == "not_found"
    refused = cli.run("invocations", "show", "nonsense")
    assert (refused.exit_code, "'nonsense' is not a reference id" in refused.stderr) == (2, True)
    refused = cli.run("replay", "status", "nonsense")
    assert (refused.exit_code, "'nonsense' is not the id of a replay" in refused.stderr) == (2, True)


def test_a_queued_invocation_can_be_cancelled_and_a_final_one_cannot(cli):
    reference_id = trigger(cli, "--async")["referenceId"]
    cancelled = cli.json("invocations", "cancel", reference_id)
    assert cancelled == {"referenceId": reference_id, "state": "cancelled"}
    assert show(cli, reference_id)["state"] == "cancelled"
    other = trigger(cli, "--async")["referenceId"]
    settle(cli, other)
    assert cli.json("invocations", "cancel", other, exit_code=1)["code"] == "conflict"


def test_tables_are_printed_without_a_terminal(cli):
    reference_id = trigger(cli, "--async")["referenceId"]
    for arguments in (("list", "--plugin", "acme"), ("show", reference_id)):
        result = cli.run("invocations", *arguments)
        assert result.exit_code == 0
        assert reference_id in result.stdout


def test_a_trigger_shows_people_the_answer_as_lines(cli, worker):
    worker.update(data=b'{"planted": "\x1b[2J"}'.replace(b"\x1b", b"\\u001b"))
    shown = cli.run("trigger", "ping", "--plugin", "acme").stdout
    assert '\n  "planted": "\\u001b[2J"\n' in shown
