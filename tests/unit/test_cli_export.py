import csv
import io
import json
import os
import pty

import pytest

from relay.cli.output import safe
from relay.domain.invocation import Purpose
from relay.domain.reference_id import new_reference_id
from relay.request.trigger import Trigger
from relay.store.ledger.transitions import NewStep, NextStep
from relay.vault import payload_owner
from tests.store_keys import KEYS
from tests.unit.cli import a_webhook, old_ring_text
from tests.unit.test_cli_invocations import settle, trigger


@pytest.fixture
def cli(cli):
    cli.apply(a_webhook())
    return cli


@pytest.fixture
def exported(cli):
    """One invocation that was answered, and one that is queued."""
    first = trigger(cli, "--async", "--data", '{"big": 123456789012345678901234567890}')["referenceId"]
    settle(cli, first, data=b'"planted-answer"', status=404)
    second = trigger(cli, "--async", "--data", '"planted-text"')["referenceId"]
    return cli, first, second


def export(cli, *arguments):
    result = cli.run("invocations", "export", "--plugin", "acme", *arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_an_export_is_a_row_a_line_without_contents(exported):
    cli, first, second = exported
    rows = [json.loads(line) for line in export(cli).splitlines()]
    assert rows == cli.json("invocations", "list", "--plugin", "acme")
    assert [row["referenceId"] for row in rows] == [second, first]
    assert "planted" not in export(cli)
    assert export(cli, "--status", "4xx").count("\n") == 1


def test_contents_are_exported_with_the_key_only(exported):
    cli, first, second = exported
    by_ref = {row["referenceId"]: row for row in map(json.loads, export(cli, "--with-payload").splitlines())}
    assert by_ref[first]["payload"]["data"] == {"big": 123456789012345678901234567890}
    assert by_ref[first]["data"] == "planted-answer"
    assert (by_ref[second]["payload"]["data"], by_ref[second]["data"]) == ("planted-text", None)
    keyless = {name: text for name, text in cli.environ.items() if name != "RELAY_DATA_KEYS"}
    refused = cli.run("invocations", "export", "--plugin", "acme", "--with-payload", environ=keyless)
    assert refused.exit_code == 1
    assert "RELAY_DATA_KEYS" in refused.output
    lost = type(cli)(cli.url, cli.directory).run("invocations", "export", "--plugin", "acme", "--with-payload")
    assert "planted" not in lost.output
    assert "3 contents are left out" in lost.stderr


@pytest.fixture
def chained(cli):
    """A chain that has made a step, as a worker does; returns the ids of both."""
    chain = a_webhook(id="both", steps=[{"webhook": "ping", "data": "input.data"}])
    for name in ("url", "method", "headers", "queryParams"):
        del chain[name]
    cli.apply(chain)
    given = ("--plugin", "acme", "--async", "--data", '"of the chain"')
    parent, ref, runtime = cli.json("trigger", "both", *given)["referenceId"], new_reference_id("acme"), cli.runtime()
    stamp = runtime.registry.revision("acme", "ping", 1).stamp
    owner = payload_owner("acme", ref, Purpose("ping", 1, None, parent, 0), stamp)
    sealed = runtime.target_vault.seal(Trigger("of the step").to_json(), owner)
    step = NewStep(ref, "ping", 1, 20_000, repeatable=False, payload=sealed, request_bytes=1)
    runtime.store.advance([NextStep(parent, "parent", 0, 0, [step])])
    settle(cli, ref, data=b'"answer"')
    return cli, parent, ref


@pytest.mark.parametrize("is_lost", [False, True])
def test_contents_that_do_not_open_are_left_out_and_what_a_step_sent_always_is(chained, is_lost):
    """What a step sends may hold answers of endpoints before masking, with credentials and tokens."""
    cli, parent, step = chained
    environ = cli.environ | ({"RELAY_DATA_KEYS": old_ring_text(1)} if is_lost else {})
    result = cli.run("invocations", "export", "--plugin", "acme", "--with-payload", environ=environ)
    rows = {row["referenceId"]: row for row in map(json.loads, result.stdout.splitlines())}
    shown = [row["payload"] and row["payload"]["data"] for row in (rows[parent], rows[step])] + [rows[step]["data"]]
    assert shown == ([None, None, None] if is_lost else ["of the chain", None, "answer"])
    assert ("2 contents are left out" in result.stderr) == is_lost
    assert "of the step" not in result.output


def test_csv_has_a_header_and_the_values_of_rows(exported):
    cli, first, _ = exported
    rows = list(csv.DictReader(io.StringIO(export(cli, "--format", "csv"))))
    answered = rows[1]
    assert answered["referenceId"] == first
    assert (answered["state"], answered["status"], answered["error"], answered["outcome"], answered["attempts"]) == (
        "delivered", "404", "true", "answered", "1",
    )  # fmt: skip
    assert (rows[0]["status"], rows[0]["finishedAt"]) == ("", "")
    assert all(line.startswith('"') for line in export(cli, "--format", "csv").splitlines())
    assert "planted" not in export(cli, "--format", "csv")


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "\uff1d1"])
def test_no_cell_of_csv_is_a_formula(cli, text):
    """Texts of plugins and endpoints are JSON in a cell; a cell that could begin a formula begins with a quote."""
    from relay.cli.export import _cell

    assert _cell(text) == safe(f"'{text}")
    assert _cell("plain") == "plain"
    reference_id = trigger(cli, "--async", "--data", json.dumps(text))["referenceId"]
    settle(cli, reference_id, data=b"-5")
    (row,) = csv.DictReader(io.StringIO(export(cli, "--format", "csv", "--with-payload")))
    assert json.loads(row["payload"])["data"] == text
    assert row["data"] == "'-5"


def test_what_is_no_file_keeps_its_rights(exported):
    cli, _, _ = exported
    master, slave = pty.openpty()
    rights = os.fstat(slave).st_mode
    said = cli.json("invocations", "export", "--plugin", "acme", "--file", os.ttyname(slave))
    assert (said["rows"], os.fstat(slave).st_mode) == (2, rights)
    assert os.read(master, 100)
    os.close(slave)
    os.close(master)


def test_a_file_is_written_for_its_owner_only_and_said_to_be(exported):
    cli, _, _ = exported
    file = cli.directory / "out.csv"
    said = cli.json("invocations", "export", "--plugin", "acme", "--format", "csv", "--file", str(file))
    assert said == {"file": str(file), "rows": 2}
    assert file.stat().st_mode & 0o777 == 0o600
    assert len(list(csv.DictReader(io.StringIO(file.read_text())))) == 2
    file.chmod(0o644)
    file.write_text("of an earlier export\n" * 1_000)
    assert cli.run("invocations", "export", "--plugin", "acme", "--file", str(file)).exit_code == 0
    assert (file.stat().st_mode & 0o777, len(file.read_text().splitlines())) == (0o600, 2)
    nowhere = str(cli.directory / "no" / "out")
    assert cli.run("invocations", "export", "--plugin", "acme", "--file", nowhere).exit_code == 2


def test_an_export_of_nothing_is_empty(cli):
    assert export(cli) == ""
    assert export(cli, "--format", "csv").count("\n") == 1


#: A character of each kind that acts on a terminal or misleads its reader: C0 and C1 controls, DEL, a turn of direction, a
#: separator, an invisible one, and a tag.
ACTING = (
    "\x00",
    "\x07",
    "\x1b",
    "\x7f",
    "\x85",
    "\x9b",
    "\u202e",
    "\u2066",
    "\u200b",
    "\u2028",
    "\ufeff",
    "\U000e0041",
)


@pytest.mark.parametrize("char", ACTING)
@pytest.mark.parametrize("kind", ["csv", "jsonl", "table", "tail"])
def test_no_text_of_a_record_acts_on_the_terminal_that_shows_it(cli, monkeypatch, kind, char):
    ref = trigger(cli, "--async")["referenceId"]
    for field in ("caller", "webhook", "replayOf", "outcome"):
        cli.runtime().client.hset(KEYS.record(ref), field, f"pl{char}anted")
    if kind == "table":
        shown = cli.run("invocations", "list", "--plugin", "acme").stdout
    elif kind == "tail":
        monkeypatch.setattr("relay.cli.tail.Watch.look", _interrupted)
        shown = cli.run("invocations", "tail", "--plugin", "acme").stdout
        shown += cli.run("invocations", "tail", "--plugin", "acme", "--output", "json").stdout
    else:
        shown = export(cli, "--format", kind)
    assert "pl" in shown
    assert char not in shown


def _interrupted(_watch):
    raise KeyboardInterrupt


def test_a_damaged_record_is_exported_and_listed_as_damaged_and_the_others_as_they_are(exported):
    cli, first, second = exported
    whole = {row["referenceId"]: row for row in map(json.loads, export(cli).splitlines())}
    cli.runtime().client.hset(KEYS.record(first), "state", "x")
    rows = {row["referenceId"]: row for row in map(json.loads, export(cli).splitlines())}
    assert (rows[first]["state"], rows[first]["result"], rows[first]["damaged"]) == (None, None, ["state"])
    assert rows[second] == whole[second]
    by_ref = {row["referenceId"]: row for row in csv.DictReader(io.StringIO(export(cli, "--format", "csv")))}
    assert (by_ref[first]["state"], by_ref[first]["damaged"], by_ref[second]["damaged"]) == ("", "state", "")
    table = cli.run("invocations", "list", "--plugin", "acme").stdout
    assert "damaged: state" in table
    assert "damaged: state" not in cli.run("invocations", "show", second).stdout
    assert cli.json("invocations", "show", first)["damaged"] == ["state"]
