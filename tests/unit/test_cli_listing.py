import json
import re
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from relay.cli.filters import read_time_ms
from relay.cli.tail import Watch
from relay.domain.invocation import Outcome, State
from relay.domain.reference_id import new_reference_id
from relay.errors import Unavailable
from relay.request.directions import SUBJECT_RULE
from relay.store.ledger.invocations import InvocationStore
from relay.store.ledger.listing import Filter, Listing
from relay.store.ledger.transitions import NewStep, NextStep
from tests.store_keys import KEYS
from tests.unit.cli import a_webhook
from tests.unit.test_cli_invocations import settle, trigger

UNKNOWN = "01890000-0000-7000-8000-000000000000"


@pytest.fixture
def cli(cli):
    cli.apply(a_webhook(), a_webhook(id="pong"))
    return cli


@pytest.fixture
def story(cli):
    """Four invocations, oldest first: delivered, 503, timed out, queued; the third is of another webhook."""
    made = [trigger(cli, "--async")["referenceId"] for _ in range(2)]
    made.append(cli.json("trigger", "pong", "--plugin", "acme", "--async")["referenceId"])
    made.append(trigger(cli, "--async")["referenceId"])
    settle(cli, made[0], data=b'"answer"')
    settle(cli, made[1], status=503)
    settle(cli, made[2], state=State.UNREACHABLE, outcome=Outcome.CONNECT_TIMEOUT, status=0)
    return cli, made


def listed(cli, *arguments):
    return [row["referenceId"] for row in cli.json("invocations", "list", "--plugin", "acme", *arguments)]


@pytest.mark.parametrize(
    ("arguments", "places"),
    [
        ((), [3, 2, 1, 0]),
        (("--state", "delivered"), [1, 0]),
        (("--state", "delivered", "--state", "queued"), [3, 1, 0]),
        (("--status", "5xx"), [1]),
        (("--status", "0", "--status", "200"), [2, 0]),
        (("--outcome", "connect_timeout"), [2]),
        (("--failed",), [2, 1]),
        (("--failed", "--webhook", "ping"), [1]),
        (("--caller", "cli"), [3, 2, 1, 0]),
        (("--since", "1h"), [3, 2, 1, 0]),
        (("--until", "1h"), []),
        (("--since", "2026-01-01T00:00:00Z", "--limit", "2"), [3, 2]),
    ],
)
def test_a_list_takes_every_filter(story, arguments, places):
    cli, made = story
    assert listed(cli, *arguments) == [made[place] for place in places]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--webhook", "pings"), "Plugin `acme` has no webhook `pings`. Did you mean `ping`?"),
        (("--caller", "somebody"), "There is no API key `somebody`."),
        (("--chain", UNKNOWN), f"Plugin `acme` has no invocation `{UNKNOWN}`."),
        (("--replay", UNKNOWN), f"Plugin `acme` has no replay `{UNKNOWN}`."),
    ],
)
@pytest.mark.parametrize(
    "command", [("invocations", "list"), ("invocations", "export"), ("replay", "plan"), ("replay", "start")]
)
def test_a_filter_by_a_name_that_never_was_says_so(story, command, arguments, said):
    cli, _ = story
    result = cli.run(*command, "--plugin", "acme", *arguments)
    assert (result.exit_code, result.stderr.strip()) == (2, f"Error: {said}")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--status", "6xx"), "a status is 0 or 100 to 999"),
        (("--status", "12"), "a status is 0 or 100 to 999"),
        (("--outcome", "gone"), "'gone' is not one of"),
        (("--chain", "x"), "'x' is not a reference id"),
        (("--replay", "x"), "'x' is not the id of a replay"),
        (("--since", "yesterday"), "or an age: 90s, 15m, 2h, 7d"),
        (("--until", "2026-13-01T00:00:00Z"), "or an age: 90s, 15m, 2h, 7d"),
        (("--caller", "a b"), "neither the id of an API key"),
        (("--subject", "a\nb"), SUBJECT_RULE),
        (("--with-replayed",), "--with-replayed needs --failed"),
        (("--limit", "0"), "is not in the range"),
        (("--group", "--limit", "50"), "--group counts all of them"),
    ],
    ids=str,
)
def test_a_filter_that_is_not_valid_is_wrong_usage(cli, arguments, said):
    result = cli.run("invocations", "list", "--plugin", "acme", *arguments)
    assert (result.exit_code, said in result.stderr) == (2, True), result.stderr


def test_how_long_ago_is_counted_from_now():
    before = time.time() * 1000
    found = read_time_ms("15m")
    assert abs(found - (before - 15 * 60_000)) < 5_000


def test_groups_count_what_ended_alike_most_frequent_first(story):
    cli, _ = story
    more = trigger(cli, "--async")["referenceId"]
    settle(cli, more, status=503)
    groups = cli.json("invocations", "list", "--plugin", "acme", "--group", "--failed")
    assert [(each["webhookId"], each["outcome"], each["status"], each["count"]) for each in groups] == [
        ("ping", "answered", 503, 2),
        ("pong", "connect_timeout", 0, 1),
    ]
    assert list(groups[0]) == ["webhookId", "outcome", "status", "count", "firstAt", "lastAt"]
    assert groups[0]["firstAt"] <= groups[0]["lastAt"]
    shown = cli.run("invocations", "list", "--plugin", "acme", "--group").stdout
    assert "first (UTC)" in shown
    assert "connect_timeout" in shown


def test_forget_destroys_contents_and_keeps_the_record(story):
    cli, made = story
    forgotten = cli.json("invocations", "forget", made[0])
    assert (forgotten["referenceId"], forgotten["state"]) == (made[0], "delivered")
    assert forgotten["forgottenAt"]
    record = cli.json("invocations", "show", made[0])
    assert record["result"] == {"status": 200, "data": None, "error": False}
    assert record["forgottenAt"] == forgotten["forgottenAt"]
    rows = cli.json("invocations", "list", "--plugin", "acme")
    assert [row["referenceId"] for row in rows if "forgottenAt" in row] == [made[0]]
    store = cli.runtime().store
    assert (store.payload_of(made[0]), store.result_of(made[0])) == (None, None)
    assert cli.json("invocations", "forget", made[3], exit_code=1)["code"] == "conflict"
    assert cli.json("invocations", "forget", UNKNOWN, exit_code=1)["code"] in {"not_found", "expired"}
    assert cli.json("invocations", "forget", made[1], "--plugin", "other", exit_code=1)["code"] == "not_found"


# -- tail -----------------------------------------------------------------------------------------------------------


class Tail:
    """`relay invocations tail` in a separate process."""

    def __init__(self, cli, *arguments):
        # A test run that was started in the background ignores SIGINT, and so do the processes that it starts.
        program = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from relay.cli import main; main()"
        environ = {name: text for name, text in cli.environ.items() if text}
        command = [sys.executable, "-u", "-c", program, "invocations", "tail", "--plugin", "acme", *arguments]
        self.process = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def line(self):
        return self.process.stdout.readline().rstrip("\n")

    def end(self):
        self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate(timeout=50)
        return self.process.returncode, out, err


@pytest.mark.timeout(60)
def test_tail_begins_with_the_newest_and_follows_what_is_new_and_what_ends(story):
    cli, made = story
    with Tail(cli, "--output", "json", "--lines", "2") as tail:
        first = [json.loads(tail.line()) for _ in range(2)]
        assert [row["referenceId"] for row in first] == made[2:]
        settle(cli, made[3])
        ended = json.loads(tail.line())
        assert (ended["referenceId"], ended["state"]) == (made[3], "delivered")
        new = trigger(cli, "--async")["referenceId"]
        came = json.loads(tail.line())
        assert (came["referenceId"], came["state"]) == (new, "queued")
        settle(cli, new, status=404)
        assert json.loads(tail.line())["result"] == {"status": 404, "error": True}
        assert tail.end() == (0, "", "")


@pytest.mark.timeout(60)
def test_tail_shows_only_what_matches_once_it_does(story):
    cli, made = story
    with Tail(cli, "--failed", "--lines", "1") as tail:
        assert made[2] in tail.line()
        good, bad = trigger(cli, "--async")["referenceId"], trigger(cli, "--async")["referenceId"]
        time.sleep(1.2)  # so that the command sees them unfinished once
        settle(cli, good)
        settle(cli, bad, status=500)
        line = tail.line()
        assert bad in line
        assert re.search(r"delivered\s+500\s+ping", line)
        assert tail.end() == (0, "", "")


ONES = {
    "everything": (Filter(), ["queued", "delivered"]),
    "queued": (Filter(states=frozenset({State.QUEUED})), ["queued"]),
    "being sent": (Filter(states=frozenset({State.SENDING})), ["sending"]),
    "ended": (Filter(states=frozenset({State.DELIVERED})), ["delivered"]),
    "being sent or ended": (Filter(states=frozenset({State.SENDING, State.DELIVERED})), ["sending", "delivered"]),
    "failed": (Filter(error=True), ["delivered"]),
    "delivered well": (Filter(error=False), []),
}


@pytest.mark.parametrize("which", ONES)
@pytest.mark.parametrize("is_new", [False, True])
def test_each_state_that_matches_is_shown_once_however_often_one_looks(cli, which, is_new):
    wanted, expected = ONES[which]
    watch = Watch(cli.runtime(), "acme", wanted)
    shown = list(watch.begin(10)) if is_new else []
    reference_id = trigger(cli, "--async")["referenceId"]
    shown += list(watch.look()) if is_new else watch.begin(10)
    store = cli.runtime().store
    for act in (
        lambda: None,
        lambda: store.claim([reference_id], "token"),
        lambda: settle(cli, reference_id, status=500),
    ):
        act()
        shown += watch.look()
        assert list(watch.look()) == list(watch.look()) == []
    assert [(each.reference_id, str(each.state)) for each in shown] == [(reference_id, state) for state in expected]


def test_one_that_came_in_the_same_millisecond_as_the_last_one_seen_is_shown_too(cli):
    watch = Watch(cli.runtime(), "acme", Filter())
    reference_id = trigger(cli, "--async")["referenceId"]
    watch._newest_ms, watch._at_newest = cli.runtime().store.find(reference_id).created_at_ms, {"another"}
    assert [each.reference_id for each in watch.look()] == [reference_id]
    assert list(watch.look()) == []


def test_one_that_is_gone_is_watched_no_more_and_the_others_are(cli):
    gone, other = (trigger(cli, "--async")["referenceId"] for _ in range(2))
    watch = Watch(cli.runtime(), "acme", Filter())
    watch.begin(10)
    cli.runtime().client.delete(KEYS.record(gone))
    settle(cli, other)
    for expected in ([other], []):
        assert [each.reference_id for each in watch.look()] == expected


@pytest.mark.parametrize(("part", "name", "nth"), [(InvocationStore, "find", 2), (Listing, "every", 1)])
def test_what_was_found_before_the_store_went_away_is_shown_and_the_rest_once_it_is_back(
    cli, monkeypatch, part, name, nth
):
    refs = [trigger(cli, "--async")["referenceId"] for _ in range(2)]
    watch = Watch(cli.runtime(), "acme", Filter())
    watch.begin(10)
    for ref in refs:
        settle(cli, ref)
    new = trigger(cli, "--async")["referenceId"]
    ask, asked = getattr(part, name), []

    def ask_unless_away(*args):
        asked.append(1)
        if len(asked) == nth:
            raise Unavailable
        return ask(*args)

    monkeypatch.setattr(part, name, ask_unless_away)
    look, before = watch.look(), 1 if name == "find" else 2
    assert [next(look).reference_id for _ in range(before)] == refs[:before]
    with pytest.raises(Unavailable):
        next(look)
    assert [each.reference_id for each in watch.look()] == [*refs[before:], new]


def test_that_the_store_is_away_is_said_once_until_it_is_back(story, monkeypatch):
    cli, made = story
    record = cli.runtime().store.find(made[0])
    away = Unavailable("The store is away.")
    looks = iter([away, away, [record], [], away, KeyboardInterrupt()])

    def look(_watch):
        found = next(looks)
        if isinstance(found, BaseException):
            raise found
        return found

    monkeypatch.setattr(Watch, "look", look)
    monkeypatch.setattr("relay.cli.tail.time", SimpleNamespace(sleep=lambda _: None))
    result = cli.run("invocations", "tail", "--plugin", "acme", "--lines", "0")
    assert (result.exit_code, result.stderr) == (0, "The store is away.\n" * 2)
    assert made[0] in result.stdout


# -- show -----------------------------------------------------------------------------------------------------------


def a_step(cli, parent, webhook_id):
    """Create and settle a chain's first step as a worker does, without sending it."""
    store = cli.runtime().store
    step = NewStep(new_reference_id(), webhook_id, 1, 20_000, repeatable=False, payload=b"", request_bytes=0)
    assert store.advance([NextStep(parent, "parent", 0, 0, [step])]).granted
    settle(cli, step.reference_id)
    return step.reference_id


def test_show_draws_a_chain_with_its_steps_and_times(cli):
    chain = a_webhook(id="both", steps=[{"webhook": "ping"}, {"webhook": "pong"}])
    for name in ("url", "method", "headers", "queryParams"):
        del chain[name]
    cli.apply(chain)
    parent = cli.json("trigger", "both", "--plugin", "acme", "--async")["referenceId"]
    step = a_step(cli, parent, "ping")
    shown = cli.run("invocations", "show", parent).stdout
    assert re.search(rf"both\s+queued.*{parent}", shown)
    assert re.search(rf"0\.0\s+ping\s+delivered 200\s+\d\d:\d\d:\d\d\.\d{{3}}\s+\d+ ms\s+{step}", shown)
    drawn = [line.rstrip() for line in shown.splitlines() if re.match(r"attempts|result|chain", line)]
    assert drawn == ["result", "chain"], "each is told apart, and no member of the record"
    assert "startedAt" not in shown, "there is no table of attempts without any"
    assert f"{parent}" in cli.run("invocations", "show", step).stdout
    assert cli.json("invocations", "show", parent)["chain"] == {"steps": [step]}
    assert cli.json("invocations", "show", step)["chain"] == {"parent": parent, "step": 0, "item": 0}
    assert listed(cli, "--chain", parent) == [step]
