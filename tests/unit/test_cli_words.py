"""What commands make of single values: options that they read, and words for people."""

from __future__ import annotations

import dataclasses
import errno
import io
import json
import os
import stat
import time

import click
import pytest
from click.testing import CliRunner
from rich.console import Console

from relay.audit.entry import AuditEntry, line_of
from relay.cli.audit import _words
from relay.cli.audit_entries import EVERYTHING
from relay.cli.chain_plan import plan_picture, steps_in_words
from relay.cli.explain import request_lines
from relay.cli.export import _cell, _write_csv, opened_file
from relay.cli.filters import matches_end, read_time_ms
from relay.cli.id_file import IdFile
from relay.cli.output import Screen, bad, brief, moment, screened, table_of
from relay.cli.parameters import read_duration, read_secret, trigger_value
from relay.cli.replay import _read_rate
from relay.cli.replay_tables import job_picture, jobs_picture
from relay.cli.replay_tables import plan_picture as replay_plan_picture
from relay.cli.row_tables import ended_as, groups_picture, rows_picture
from relay.cli.tail import MAX_WATCHED, Watch, _follow, _line
from relay.cli.up import _addresses
from relay.cli.webhook_words import webhook_facts
from relay.domain.invocation import Outcome, State
from relay.errors import (
    BadParameter,
    Conflict,
    DocumentError,
    Fault,
    MalformedJson,
    NotFound,
    RequestRejected,
    SettingsError,
    Unavailable,
)  # fmt: skip
from relay.store.ledger.listing import Filter
from relay.views import row_of
from tests.unit.test_rows import an_invocation

REF = "01890000-0000-7000-8000-000000000000"


def shown(picture, *, styled=False):
    """Return the lines of a picture, with blanks made one; styled ones with what is red between stars."""
    console = Console(width=200, force_terminal=styled, color_system="standard" if styled else None, highlight=False)
    with console.capture() as capture:
        console.print(picture)
    text = capture.get().replace("\x1b[31m", "*").replace("\x1b[0m", "*")
    return [
        " ".join(line.split()).replace(" *", "*") if styled else " ".join(line.split())
        for line in text.splitlines()
        if line.strip(" ─╸━")
    ]


# -- options

RATES = {"20": 20, "0.5": 0.5, "20/s": 20, "600/m": 10, "3/m": 0.05}


@pytest.mark.parametrize("text", RATES)
def test_a_rate_is_a_number_a_second_however_it_is_written(text):
    assert _read_rate(text) == pytest.approx(RATES[text])


@pytest.mark.parametrize("text", ["0", "-1", "x", "1/h/2", "nan", "1e99", "/s"])
def test_a_rate_that_is_none_is_wrong_usage(text):
    with pytest.raises(click.BadParameter):
        _read_rate(text)


DURATIONS = {"30": 30, "90d": 90 * 86_400, "12h": 43_200, "5m": 300, "3650d": 3_650 * 86_400}


def test_durations_are_seconds_and_have_their_bounds():
    assert {text: read_duration(text) for text in DURATIONS} == DURATIONS
    for text in ("0", "0s", "3651d", "-1", "x", ""):
        with pytest.raises(click.BadParameter):
            read_duration(text)


def test_an_age_is_counted_back_from_now_in_its_unit(monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 1_000_000.0)
    ages = {"90s": 90, "15m": 900, "2h": 7_200, "7d": 604_800}
    assert {age: 1_000_000 - read_time_ms(age) / 1000 for age in ages} == ages
    assert read_time_ms("1970-01-01T00:00:01+01:00") == -3_599_000


SECRETS = {
    b"plain": "plain",
    b"one\n": "one",
    b"two\n\n": "two\n",
    b"dos\r\n": "dos",
    b"cr\r": "cr",
    b"": "",
    b" a ": " a ",
}


@pytest.mark.parametrize("raw", SECRETS)
def test_a_secret_loses_its_last_line_break_and_nothing_else(raw):
    assert read_secret("?", io.BytesIO(raw)) == SECRETS[raw]


@pytest.mark.parametrize(("raw", "said"), [(b"\xff", "UTF-8"), (b"a\0b", "NUL"), (b"a" * 65_537, "65536 bytes")])
def test_a_secret_that_cannot_be_one_is_refused(raw, said):
    with pytest.raises(BadParameter, match=said):
        read_secret("?", io.BytesIO(raw))
    assert read_secret("?", io.BytesIO(b"a" * 65_536)) == "a" * 65_536


def test_pairs_of_a_trigger_are_each_in_its_place():
    value = trigger_value('{"a": 1}', ["X=1", "Y=a=b"], ["q="], ["id=7"])
    assert value == {
        "headers": {"X": "1", "Y": "a=b"}, "queryParams": {"q": ""}, "pathParams": {"id": "7"}, "data": {"a": 1}
    }  # fmt: skip
    assert "data" not in trigger_value(None, [], [], [])
    for place, option in enumerate(("--header", "--query", "--path")):
        for texts, said in ((["X"], "takes NAME=VALUE"), (["=1"], "takes NAME=VALUE"), (["X=1", "X=2"], "given twice")):
            pairs = [[], [], []]
            pairs[place] = texts
            with pytest.raises(click.UsageError, match=f"{option} .*{said}"):
                trigger_value(None, *pairs)
    with pytest.raises(MalformedJson, match=r"--data .*A string needs quotes"):
        trigger_value("text", [], [], [])


def test_a_file_of_ids_takes_bare_ones_and_rows_and_names_the_line_that_is_neither():
    rows = [REF, "", "  # a remark", f' {{"referenceId": "{REF}", "x": 1}}', f"  {REF}  "]
    found = IdFile(io.StringIO("\n".join(rows)))
    assert (list(found), list(found), found.count) == ([REF] * 3, [REF] * 3, 3)
    for line in ("x", "{", '{"referenceId": 7}', REF + "0", "[]"):
        with pytest.raises(click.UsageError, match=r"^Line 3 of"):
            IdFile(io.StringIO(f"{REF}\n\n{line}\n{REF}"))
    with pytest.raises(click.UsageError, match="no reference ids"):
        IdFile(io.StringIO("# only a remark\n\n"))


ENDS = [
    (Filter(), True),
    (Filter(states=frozenset({State.DELIVERED, State.REJECTED})), True),
    (Filter(states=frozenset({State.REJECTED})), False),
    (Filter(status=(503, "4xx")), True),
    (Filter(status=(404, "5xx")), True),
    (Filter(status=(400, "3xx")), False),
    (Filter(outcome=Outcome.ANSWERED), True),
    (Filter(outcome=Outcome.EXPIRED), False),
    (Filter(error=True), True),
    (Filter(error=False), False),
    (Filter(error=True, status=(200,)), False),
    (Filter(webhook_id="other"), True),
]


@pytest.mark.parametrize(("wanted", "matches"), ENDS)
def test_an_end_is_compared_in_all_that_a_filter_says_of_ends(wanted, matches):
    ended = an_invocation(status=404 if 404 in wanted.status else 403, outcome=Outcome.ANSWERED, error=True)
    if 503 in wanted.status:
        ended = dataclasses.replace(ended, status=499)
    if "5xx" in wanted.status:
        assert matches_end(wanted, dataclasses.replace(ended, status=599))
        assert not matches_end(wanted, dataclasses.replace(ended, status=600))
    assert matches_end(wanted, ended) is matches
    if wanted.status:
        assert not matches_end(wanted, dataclasses.replace(ended, status=None))


# -- errors

ERRORS = [
    (BadParameter("No."), 2, ["Error: No."]),
    (MalformedJson("No."), 2, ["Error: No."]),
    (
        DocumentError("No.", faults=(Fault("/a", "is bad"), Fault("/b", "too"))),
        2,
        ["Error: No.", "  /a: is bad", "  /b: too"],
    ),
    (Conflict("No."), 1, ["Error: No."]),
    (NotFound("No.", reference_id="r"), 1, ["Error: No.", "  reference id: r"]),
    (RequestRejected("No.", faults=(Fault("/a", "is bad"),)), 1, ["Error: No.", "  /a: is bad"]),
    (SettingsError("No\x1b."), 1, ["Error: No\\x1b."]),
    (
        Unavailable("No."),
        1,
        ["Error: No.", "  Is it running? `relay up` starts it, and `relay doctor` says what is wrong."],
    ),
]


@pytest.mark.parametrize(("error", "status", "lines"), ERRORS)
def test_an_error_is_told_to_people_and_to_programs_and_says_whose_fault_it_is(error, status, lines, capsys):
    assert Screen("table").fail(error) == status
    told = capsys.readouterr()
    assert (told.out, [click.unstyle(line) for line in told.err.splitlines()][: len(lines)]) == ("", lines)
    assert Screen("json").fail(error) == status
    value = json.loads(capsys.readouterr().out)
    assert (value["code"], value["message"]) == (error.code, error.message)
    assert [fault["message"] for fault in value.get("errors", value.get("faults"))] == [
        fault.message for fault in error.faults
    ]


@pytest.mark.parametrize(
    ("number", "said"), [(errno.ENOSPC, "read or written: No space left on device (a.csv)"), (errno.EPIPE, None)]
)
def test_a_file_fault_is_a_failure_and_names_the_file_and_a_reader_that_has_gone_is_told_nothing(number, said):
    @click.command()
    @screened
    def command(screen):
        raise OSError(number, os.strerror(number), "a.csv")

    result = CliRunner().invoke(command)
    assert (result.exit_code, said in result.stderr if said else result.output == "") == (1, True)


def test_times_are_shortened_for_tables():
    assert (moment(None), brief(None)) == (None, None)
    assert (moment("2026-11-26T20:15:42.123Z"), brief("2026-11-26T20:15:42.123Z")) == (
        "2026-11-26 20:15:42",
        "11-26 20:15",
    )


def test_cells_of_a_table_are_words():
    rows = [(True, None, ["a", "b"], 7, bad("x", "y")), (False, "", (), 0, "z")]
    assert shown(table_of(("a", "b", "c", "d", "e"), rows)) == ["a b c d e", "yes a 7 x", "b y", "no 0 z"]


# -- calls


def call(**changes):
    return row_of(an_invocation(**changes))


ROWS = {
    "delivered 200": {},
    "failed 503": {"status": 503, "error": True},
    "queued": {"state": State.QUEUED, "status": None, "error": None},
    "unreachable": {"state": State.UNREACHABLE, "status": 0, "error": True},
    "unreachable 503": {"state": State.UNREACHABLE, "status": 503, "error": True},
    "damaged": {"state": None},
    "rejected": {"state": State.REJECTED, "status": None},
}


@pytest.mark.parametrize("words", ROWS)
def test_an_end_is_told_in_words_and_failures_are_red(words):
    row = call(**ROWS[words])
    assert ended_as(row) == words
    red = any(f"*{words}*" in line for line in shown(rows_picture([row]), styled=True))
    assert red is (words.split()[0] in {"failed", "unreachable", "rejected"})


def test_damage_of_a_row_and_its_replay_are_told():
    row = call(damaged=("status", "data"))
    assert shown(rows_picture([row])) == [
        "reference id webhook state created (UTC)", f"{REF} ping delivered 11-14 22:13", "damaged: status", "damaged: data"
    ]  # fmt: skip
    assert shown(rows_picture([call(), call(reference_id="other")], {REF: "failed 503"})) == [
        "reference id webhook state its replay", f"{REF} ping delivered 200 failed 503", "other ping delivered 200"
    ]  # fmt: skip


def a_group(outcome, status, count=2):
    at = {"firstAt": "2026-11-26T20:15:42.123Z", "lastAt": "2026-11-27T20:15:42.123Z"}
    return {"webhookId": "ping", "outcome": outcome, "status": status, "count": count, **at}


GROUPS = [
    ("answered", 200, False),
    ("answered", 399, False),
    ("answered", 400, True),
    (None, None, False),
    ("expired", 0, True),
]


@pytest.mark.parametrize(("outcome", "status", "is_red"), GROUPS)
def test_groups_of_failures_are_red(outcome, status, is_red):
    (_, line) = shown(groups_picture([a_group(outcome, status)]), styled=True)
    assert (f"*{outcome}" in line) is is_red
    assert line.endswith("2 11-26 20:15 11-27 20:15")


TAILED = [
    ({}, f"2023-11-14 22:13:21 {REF} delivered 200 ping"),
    ({"status": 503, "error": True}, f"2023-11-14 22:13:21 {REF} delivered 503 ping"),
    ({"state": State.SENDING, "finished_at_ms": None, "attempts": ()}, f"2023-11-14 22:13:20 {REF} sending ping"),
    ({"state": None, "damaged": ("state", "x")}, f"2023-11-14 22:13:21 {REF} damaged ping damaged: state, x"),
]


@pytest.mark.parametrize(("changes", "line"), TAILED)
def test_a_line_of_a_tail_has_the_time_of_the_end_or_else_of_the_beginning(changes, line):
    assert " ".join(_line(call(**changes)).split()) == line


def test_a_tail_names_the_outcome_of_the_last_attempt_if_that_was_no_answer():
    first = an_invocation().attempts[0]
    failed = dataclasses.replace(first, outcome=Outcome.DNS_FAILED)
    assert "dns_failed" in _line(call(attempts=(first, failed)))
    assert "dns_failed" not in _line(call(attempts=(failed, first)))


def test_a_tail_watches_the_newest_that_have_not_ended(cli, monkeypatch):
    watch = Watch(cli.runtime(), "acme", Filter())
    refs = [f"{number:08}" for number in range(MAX_WATCHED + 2)]
    for number, reference_id in enumerate(refs):
        row = an_invocation(reference_id=reference_id, state=State.QUEUED, created_at_ms=number)
        watch._take(row, shown=True)
    assert list(watch._watched) == refs[2:]


def test_a_tail_says_each_time_once_that_the_store_is_away(cli, monkeypatch, capsys):
    cli.apply({"id": "ping", "url": "https://a.example.com/", "method": "POST"}, plugin="acme")
    watch, turns, real = Watch(cli.runtime(), "acme", Filter()), list("--..--."), time.sleep
    look = watch.look

    def looked():
        if turns.pop(0) == "-":
            raise Unavailable("Away.")
        return look()

    def sleep(duration_s):
        if duration_s != 0.5:
            real(duration_s)
        elif not turns:
            raise KeyboardInterrupt

    monkeypatch.setattr(watch, "look", looked)
    monkeypatch.setattr(time, "sleep", sleep)
    with pytest.raises(KeyboardInterrupt):
        list(_follow(watch, 1, Screen("table")))
    assert capsys.readouterr().err.splitlines() == ["Away."] * 2


CELLS = [
    (None, ""), (True, "true"), (False, "false"), (0, "0"), ("a", "a"), ("=1", "'=1"), ("  +1", "'  +1"), ("-1", "'-1"),
    (-1, "'-1"), ("a=1", "a=1"), ([1, "é"], '[1, "\\u00e9"]'), ({"a": None}, '{"a": null}'), ("\uff1dx", "'\uff1dx"),
    ("\t@", "'\\x09@"), ("a\nb", "a\\x0ab"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "cell"), CELLS)
def test_a_cell_is_no_formula_and_acts_on_no_terminal(value, cell):
    assert _cell(value) == cell


def test_an_export_replaces_the_file_of_an_earlier_one_and_is_its_owner_s(tmp_path, capsys):
    path = tmp_path / "found"
    for text in ("longer\r\n", "short"):
        with opened_file(str(path)) as file:
            file.write(text)
        assert (path.read_bytes(), path.stat().st_mode & 0o777) == (text.encode(), 0o600)
    with opened_file(None) as file:
        file.write("shown")
    assert capsys.readouterr().out == "shown"


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()], ids=repr)
def test_an_export_that_is_not_finished_leaves_the_earlier_one(tmp_path, error):
    path = tmp_path / "found"
    path.write_text("earlier")

    def write_half():
        with opened_file(str(path)) as file:
            file.write("half")
            raise error

    with pytest.raises(type(error)):
        write_half()
    assert path.read_text() == "earlier"
    assert list(tmp_path.iterdir()) == [path]


def test_exports_to_the_same_file_at_once_do_not_mix(tmp_path):
    path = tmp_path / "found"
    with opened_file(str(path)) as first:
        first.write("one")
        with opened_file(str(path)) as second:
            second.write("two")
        assert path.read_text() == "two"
        first.write(" whole")
    assert path.read_text() == "one whole"
    assert list(tmp_path.iterdir()) == [path]


def test_an_export_through_a_link_leaves_the_link(tmp_path):
    (tmp_path / "newest").symlink_to("found")
    for text in ("one", "two"):
        with opened_file(str(tmp_path / "newest")) as file:
            file.write(text)
        assert (tmp_path / "found").read_text() == text
    assert (tmp_path / "newest").is_symlink()


def test_an_export_goes_straight_into_a_pipe(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with opened_file(str(path)) as file:
        file.write("said")
    assert os.read(reading, 100) == b"said"
    os.close(reading)
    assert stat.S_ISFIFO(path.stat().st_mode)


def test_a_row_of_csv_has_the_last_attempt_and_contents_as_json():
    first = an_invocation().attempts[0]
    attempts = (dataclasses.replace(first, outcome=Outcome.DNS_FAILED), first)
    row = call(attempts=attempts, damaged=("a", "b")) | {"payload": {"data": 1}, "data": None}
    for with_payload, contents in ((False, []), (True, ['{""data"": 1}', ""])):
        file = io.StringIO()
        assert _write_csv(file, iter([row, row]), with_payload) == 2
        head, line, again = file.getvalue().splitlines()
        assert (line, len(head.split(","))) == (again, 18 + len(contents))
        values = [
            f"{REF}",
            "ping",
            "3",
            "delivered",
            "2023-11-14T22:13:20.007Z",
            "2023-11-14T22:13:21.000Z",
            "2",
            "answered",
        ]
        assert line.startswith(",".join(f'"{value}"' for value in values))
        assert line.endswith(",".join(f'"{value}"' for value in ["a b", *contents]))


# -- replays

JOB = {
    "replayId": REF, "state": "running", "matched": 9, "started": 4, "delivered": 2, "failed": 1, "skipped": 3,
    "ratePerSecond": 2, "createdAt": None, "finishedAt": None, "skippedReasons": {"expired": 3}, "caller": "cli", "filter": None,
}  # fmt: skip


def test_jobs_are_told_with_their_failures_in_red():
    jobs = [JOB, JOB | {"failed": 0, "state": None}]
    assert shown(jobs_picture(jobs), styled=True)[1:] == [f"{REF} running 2*1* 3", f"{REF} damaged 2 0 3"]


FILTERS = [
    (None, "these reference ids"),
    ({}, ""),
    ({"webhookId": "ping", "states": ["delivered", "rejected"], "status": [503, "4xx"]}, "webhookId ping, states delivered or rejected, status 503 or 4xx"),
    ({"subject": True, "failed": True}, "subject, failed"),
    ({"failed": False}, "failed False"),
]  # fmt: skip


@pytest.mark.parametrize(("chosen", "words"), FILTERS)
def test_a_job_says_what_was_chosen_and_why_it_skipped(chosen, words):
    lines = shown(job_picture(JOB | {"filter": chosen}))
    assert f"filter {words}".strip() in lines
    assert lines[-2:] == ["skipped because count", "expired 3"]
    assert not any("skippedReasons" in line for line in lines)
    assert "skipped because count" not in shown(job_picture(JOB | {"skippedReasons": {}}))


PLAN = {
    "planId": "p", "matched": 2, "skipped": 1, "breakdown": [], "sample": [], "skippedReasons": {}, "leftOut": {}, "estimatedSeconds": None
}  # fmt: skip
PLANS = [
    ({}, ["plan id p", "matched 2", "to be skipped 1"]),
    ({"estimatedSeconds": 0.2}, ["plan id p", "matched 2", "to be skipped 1", "takes about 1 s"]),
    ({"estimatedSeconds": 90.4}, ["plan id p", "matched 2", "to be skipped 1", "takes about 90 s"]),
    ({"matched": 0}, ["plan id p", "matched 0", "to be skipped 1", "No call matches."]),
    (
        {"leftOut": {"replayed": 3, "being_replayed": 1}},
        ["plan id p", "matched 2", "to be skipped 1", "Not matched: 3 were already replayed with success, 1 are being replayed."],
    ),
    ({"skippedReasons": {"uncertain": 1}}, ["plan id p", "matched 2", "to be skipped 1", "skipped because count", "uncertain 1"]),
]  # fmt: skip


@pytest.mark.parametrize(("more", "lines"), PLANS)
def test_a_plan_says_how_many_and_how_long_and_what_is_left_out(more, lines):
    assert shown(replay_plan_picture(PLAN | more)) == lines


def test_a_plan_shows_what_matches_and_the_newest():
    lines = shown(replay_plan_picture(PLAN | {"breakdown": [a_group("answered", 503)], "sample": [call()]}))
    assert [lines.index(head) for head in ("what matches", "the newest")] == [3, 6]


# -- webhooks

WEBHOOK = {
    "id": "ping", "plugin": "acme", "revision": 3, "description": "", "createdAt": "2026-11-26T20:15:42.123Z", "chain": False,
    "method": "POST", "url": "https://a.example.com/", "encoding": "json", "fixedData": None, "headers": {}, "queryParams": [],
    "pathParams": {}, "steps": None, "result": None, "dataSchema": None, "responseSchema": None, "credentials": [],
    "signingSecrets": 0, "secrets": [], "callback": None, "timeout": 20, "repeatable": False, "retry": None, "concurrency": None,
    "rate": None, "hidden": False, "revealUrl": False,
    "traffic": {"running": 1, "parked": 2, "paused": False, "breaker": "closed", "failures": 0, "openUntil": None},
}  # fmt: skip
USUAL = {
    "webhook": "ping of plugin acme, revision 3", "registered": "2026-11-26 20:15:42 UTC", "sends": "POST https://a.example.com/",
    "data as": "JSON", "timeout": "20 s", "repeated": "only by replays; never once it may have been received",
    "shown to plugins": "yes", "address in answers": "masked", "now": "1 being sent, 2 waiting for room",
}  # fmt: skip
RETRY = {"attempts": 3, "initial": 0.5, "factor": 2.0, "maximum": 60.0}
STOPPED = {"paused": True, "breaker": "open", "failures": 7, "openUntil": "2026-11-26T20:15:42.123Z"}
WORDS = [
    ({}, {}),
    ({"description": "d"}, {"description": "d"}),
    ({"chain": True, "steps": [{"webhook": "a"}], "result": "x"}, {"sends": "its steps, one after the other", "data as": None, "steps": ["0. a"], "result": "x", "repeated": None}),
    ({"encoding": "form", "fixedData": {"a": 1, "b": 2}}, {"data as": "a form", "data with": ["a", "b"]}),
    ({"headers": {"X": "fillable"}, "queryParams": ["q"], "pathParams": {"id": {"pattern": "x+"}}}, {"headers": ["X: fillable"], "parameters": ["q"], "in the path": ["id: x+"]}),
    ({"dataSchema": {}}, {"data has to fit": "yes (shown with --output json)"}),
    ({"responseSchema": {}}, {"answer has to fit": "yes (shown with --output json)"}),
    ({"credentials": [{"type": "basic"}, {"type": "oauth2", "grant": "g"}], "signingSecrets": 2}, {"authenticates by": ["basic", "oauth2 (g)", "a signature"]}),
    ({"repeatable": True}, {"repeated": "only by replays; even if it is not known whether it was received"}),
    ({"retry": RETRY}, {"repeated": "3 attempts in all, after 0.5 s, then 2 times as long, at most 60 s; on the usual statuses; never once it may have been received"}),
    ({"retry": RETRY | {"statuses": [503, 429]}}, {"repeated": "3 attempts in all, after 0.5 s, then 2 times as long, at most 60 s; on 503, 429; never once it may have been received"}),
    ({"concurrency": 2}, {"limits": ["2 at once"]}),
    ({"rate": "5/s"}, {"limits": ["5/s"]}),
    ({"concurrency": 2, "rate": "5/s"}, {"limits": ["2 at once", "5/s"]}),
    ({"hidden": True, "revealUrl": True}, {"shown to plugins": "no: only chains, callbacks and alerts reach it", "address in answers": "shown"}),
    ({"traffic": WEBHOOK["traffic"] | {"paused": True}}, {"now": "paused; 1 being sent, 2 waiting for room"}),
    ({"traffic": WEBHOOK["traffic"] | STOPPED}, {"now": "breaker open until 2026-11-26 20:15:42 UTC, 7 failures in a row; paused; 1 being sent, 2 waiting for room"}),
    ({"traffic": WEBHOOK["traffic"] | STOPPED | {"paused": False, "breaker": "half-open"}}, {"now": "breaker half-open, 7 failures in a row; 1 being sent, 2 waiting for room"}),
]  # fmt: skip


@pytest.mark.parametrize(("more", "words"), WORDS)
def test_each_member_of_a_webhook_has_its_words(more, words):
    found = {name: str(each) if name == "now" else each for name, each in webhook_facts(WEBHOOK | more)}
    assert found == {name: each for name, each in (USUAL | words).items() if each is not None}
    order = [name for name, _ in webhook_facts(WEBHOOK | more)]
    assert (order[0], order[-1]) == ("webhook", "now")


STEP = {"webhook": "a", "when": "w", "forEach": "f", "headers": {"X": "h"}, "queryParams": {"q": "e"}, "pathParams": {"id": "p"}, "data": "d", "mask": ["m"], "onError": "continue"}  # fmt: skip
MAPPED = ["X <- h", "?q <- e", "{id} <- p", "data <- d"]


def test_a_chain_is_told_step_by_step_and_what_is_within_it_further_in():
    assert steps_in_words([STEP, {"webhook": "b", "onError": "fail"}]) == [
        "0. a", *(f"   {line}" for line in ["when: w", "forEach: f", *MAPPED, "mask: m", "in error: the chain goes on"]), "1. b"
    ]  # fmt: skip
    request = {"method": "GET", "url": "u", "headers": {"Host": "h"}, "auth": [{"type": "basic"}], "secrets": ["S"]}
    inner = {"steps": [{"step": 0, "webhook": "c", "revision": 4, "hidden": True, "request": request}], "result": None}
    steps = [{"step": 0, "revision": 2, "hidden": False, "chain": inner, **STEP}, {"step": 1, "webhook": "gone"}]
    plan = {"plugin": "acme", "webhookId": "x", "revision": 1, "timeout": 60, "steps": steps, "result": "r"}
    assert shown(plan_picture(plan)) == [
        "plugin acme", "webhookId x", "revision 1", "timeout 60", "0. a (revision 2)", "when: w", "forEach: f", *MAPPED,
        "0. c (revision 4, hidden)", "GET u", "Host: h", "auth: basic", "secret: S", "mask: m", "in error: the chain goes on",
        "1. gone (revision -)", "result: r",
    ]  # fmt: skip


@pytest.mark.parametrize(("body", "lines"), [(None, []), ({"preview": "b", "complete": True}, ["", "b"])])
def test_a_request_is_told_with_its_body_apart(body, lines):
    request = {"method": "GET", "url": "u", "headers": {"Host": "h"}, "auth": [], "secrets": [], "body": body}
    assert request_lines(request) == ["GET u", "Host: h", *lines]


@pytest.mark.parametrize(("processes", "told"), [(1, 0), (2, 1)])
def test_that_processes_share_a_port_is_told_of_several_only(processes, told):
    value = {"apiUrl": "u", "apiProcesses": processes, "consoleUrl": "c", "flowerUrl": "f"}
    assert sum("share this port" in line for line in _addresses(value, "auth")) == told


# -- the audit trail

ENTRY = AuditEntry(100_000_000_000, "forget", "k1", "acme", "a", outcome="ok")
SELECTED = [
    ({}, True),
    ({"plugin": "acme"}, True),
    ({"plugin": "other"}, False),
    ({"subject": "a"}, True),
    ({"subject": "b"}, False),
    ({"act": "forget"}, True),
    ({"act": "list"}, False),
    ({"actor": "k1"}, True),
    ({"actor": "k2"}, False),
    ({"outcome": "ok"}, True),
    ({"outcome": "conflict"}, False),
    ({"since_ms": 100_000_000_000}, True),
    ({"since_ms": 100_000_000_001}, False),
    ({"until_ms": 100_000_000_000}, True),
    ({"until_ms": 99_999_999_999}, False),
    ({"until_ms": 0}, False),
    ({"plugin": "acme", "act": "list"}, False),
]


@pytest.mark.parametrize(("changes", "is_taken"), SELECTED)
def test_an_entry_is_selected_by_all_that_is_wanted(changes, is_taken):
    wanted = dataclasses.replace(EVERYTHING, **changes)
    assert wanted.takes(ENTRY.text().encode()) is is_taken
    assert wanted.takes(b"written by nobody") is (not changes)


def test_entries_are_looked_for_a_day_before_the_wanted_time():
    wanted = dataclasses.replace(EVERYTHING, since_ms=ENTRY.at_ms + 86_400_000)
    assert [
        dataclasses.replace(wanted, since_ms=wanted.since_ms + more).is_past(ENTRY.text().encode()) for more in (0, 1)
    ] == [False, True]
    assert not EVERYTHING.is_past(ENTRY.text().encode())
    assert not wanted.is_past(b"written by nobody")


def test_an_entry_is_told_in_one_line():
    line = {"trail": "{0}", "seq": 7, "at": "T", "act": "forget", "plugin": "acme", "subject": "a", "outcome": "ok"}
    assert _words(line) == "{0}:7  T  -  forget  acme/a  ok"
    more = line | {"key": "k1", "operator": "ada", "count": 3, "references": ["r1", "r2"]}
    assert _words(more) == "{0}:7  T  ada  forget  acme/a  ok  3 times  r1 r2"
    assert _words(line | {"key": "k1", "count": 1}) == "{0}:7  T  k1  forget  acme/a  ok"
    assert _words({"trail": "t", **line_of(8, b"raw")}).startswith("t:8  ")
