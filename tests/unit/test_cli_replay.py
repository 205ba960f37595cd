import json
import re
import time
from types import SimpleNamespace

import pytest
import redis

from relay.cli.id_file import IdFile
from relay.domain.reference_id import new_reference_id
from relay.errors import Unavailable
from relay.replay.planning import MAX_COUNT, Replays
from tests.store_keys import KEYS
from tests.timing import ANSWER_S
from tests.unit.cli import a_webhook
from tests.unit.test_cli_invocations import settle, trigger

UNKNOWN = "01890000-0000-7000-8000-000000000000"
JOB = [
    "replayId", "state", "matched", "started", "delivered", "failed", "skipped", "ratePerSecond", "createdAt",
    "finishedAt", "skippedReasons", "caller", "filter",
]  # fmt: skip


@pytest.fixture
def failed(cli):
    """Three invocations that failed with 503, oldest first, and one that did not, of a repeatable webhook."""
    cli.apply(a_webhook(idempotent=True))
    made = [trigger(cli, "--async")["referenceId"] for _ in range(4)]
    for ref in made[:3]:
        settle(cli, ref, status=503)
    settle(cli, made[3])
    return cli, made


def replay(cli, verb, *arguments, **how):
    return cli.json("replay", verb, *arguments, **how)


def start(cli, *arguments):
    return replay(cli, "start", "--plugin", "acme", *arguments)


def test_a_plan_says_how_many_which_and_how_long(failed):
    cli, made = failed
    plan = replay(cli, "plan", "--plugin", "acme", "--rate", "2")
    assert list(plan) == [
        "planId", "matched", "skipped", "breakdown", "skippedReasons", "leftOut", "sample",
        "estimatedSeconds",
    ]  # fmt: skip
    assert (plan["matched"], plan["skipped"], plan["skippedReasons"]) == (3, 0, {})
    assert [(each["webhookId"], each["status"], each["count"]) for each in plan["breakdown"]] == [("ping", 503, 3)]
    assert [row["referenceId"] for row in plan["sample"]] == made[2::-1]
    assert plan["estimatedSeconds"] == pytest.approx(1.5, abs=0.5)
    assert replay(cli, "list", "--plugin", "acme") == []
    shown = cli.run("replay", "plan", "--plugin", "acme").stdout
    assert plan["planId"] not in shown
    assert "what matches" in shown


def test_a_plan_says_what_stands_in_the_way_of_its_webhooks(failed):
    cli, _ = failed
    assert cli.run("replay", "plan", "--plugin", "acme").stderr == ""
    cli.run("webhooks", "pause", "ping", "--plugin", "acme")
    until_ms = int(time.time() * 1000) + 60_000
    redis.Redis.from_url(cli.url, socket_timeout=ANSWER_S).hset(
        KEYS.policy("acme", "ping"), mapping={"failures": 20, "openUntil": until_ms, "openFor": 60_000}
    )
    said = cli.run("replay", "plan", "--plugin", "acme").stderr
    assert "relay webhooks close-breaker ping --plugin acme" in said
    assert "relay webhooks resume ping --plugin acme" in said


def test_a_replay_is_started_looked_at_and_listed(failed):
    cli, made = failed
    started = start(cli, "--status", "5xx", "--rate", "600/m")
    assert list(started) == ["replayId", "state", "matched"]
    assert started["matched"] == 3
    job = replay(cli, "status", started["replayId"])
    assert list(job) == JOB
    assert (job["ratePerSecond"], job["finishedAt"]) == (10, None)
    assert job["matched"] == 3
    assert [each["replayId"] for each in replay(cli, "list", "--plugin", "acme")] == [started["replayId"]]
    assert replay(cli, "list", "--plugin", "other", exit_code=2)["code"] == "bad_parameter"
    shown = cli.run("replay", "status", started["replayId"]).stdout
    assert started["replayId"] in shown
    assert "status 5xx, failed\n" in re.sub(" +\n", "\n", shown)
    by_hand = start(cli, made[0])["replayId"]
    assert "these reference ids" in cli.run("replay", "status", by_hand).stdout


def test_no_more_replays_are_listed_than_are_asked_for_the_newest_first(failed):
    cli, _ = failed
    made = [start(cli)["replayId"] for _ in range(3)]
    for limit in (1, 2, 3, 4):
        listed = replay(cli, "list", "--plugin", "acme", "--limit", str(limit))
        assert [each["replayId"] for each in listed] == made[::-1][:limit]


def test_a_plan_is_started_by_its_id(failed):
    cli, _ = failed
    plan = replay(cli, "plan", "--plugin", "acme")
    settle(cli, trigger(cli, "--async")["referenceId"], status=503)  # not in the plan
    assert start(cli, plan["planId"], "--rate", "5")["matched"] == 3
    assert cli.json("replay", "start", UNKNOWN, "--plugin", "acme", exit_code=1)["code"] == "not_found"
    assert cli.run("replay", "start", plan["planId"], "--plugin", "acme", "--failed").exit_code == 2


@pytest.mark.parametrize("planned", [None, 2])
@pytest.mark.parametrize("given", [None, 5])
def test_a_planned_replay_has_the_rate_of_its_start_or_else_of_its_plan(failed, planned, given):
    cli, _ = failed
    plan = replay(cli, "plan", "--plugin", "acme", *(["--rate", str(planned)] if planned else []))
    started = start(cli, plan["planId"], *(["--rate", str(given)] if given else []))
    assert replay(cli, "status", started["replayId"])["ratePerSecond"] == (given or planned)


def test_a_replay_is_paused_resumed_and_cancelled(failed):
    cli, _ = failed
    replay_id = start(cli)["replayId"]
    assert replay(cli, "pause", replay_id)["state"] == "paused"
    assert replay(cli, "resume", replay_id, "--plugin", "acme")["state"] == "running"
    cancelled = replay(cli, "cancel", replay_id)
    assert (cancelled["state"], cancelled["skipped"], cancelled["skippedReasons"]) == ("cancelled", 3, {"cancelled": 3})
    assert replay(cli, "pause", replay_id, exit_code=1)["code"] == "conflict"
    assert cli.run("replay", "status", replay_id, "--follow").exit_code == 0  # the job has already ended
    assert "skipped because" in cli.run("replay", "status", replay_id).stdout


def test_an_unknown_or_foreign_replay_is_not_found(failed):
    cli, _ = failed
    replay_id = start(cli)["replayId"]
    for verb in ("status", "pause", "resume", "cancel"):
        assert replay(cli, verb, UNKNOWN, exit_code=1)["code"] == "not_found"
        assert replay(cli, verb, replay_id, "--plugin", "other", exit_code=2)["code"] == "bad_parameter"


@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_id_of_another_plugin_is_named_wherever_it_stands_and_starts_nothing(failed, place):
    cli, made = failed
    cli.apply(a_webhook(), plugin="other")
    foreign = cli.json("trigger", "ping", "--plugin", "other", "--async")["referenceId"]
    for unknown in (foreign, UNKNOWN):
        given = [*made[:place], unknown, *made[place:2]]
        refused = replay(cli, "start", "--plugin", "acme", *given, exit_code=1)
        assert refused["code"] == "not_found"
        assert unknown in refused["message"]
    assert replay(cli, "list", "--plugin", "acme") == replay(cli, "list", "--plugin", "other") == []


def test_ids_come_from_a_file_bare_or_as_they_were_exported(failed):
    cli, made = failed
    exported = cli.run("invocations", "export", "--plugin", "acme", "--status", "200").stdout
    text = f"# picked by hand\n\n{made[0]}\n  {made[1]}\r\n{exported}"
    file = cli.directory / "ids"
    file.write_text(text)
    assert start(cli, "--from-file", str(file))["matched"] == 3
    assert replay(cli, "plan", "--plugin", "acme", "--from-file", "-", text=text)["matched"] == 3


@pytest.mark.parametrize("contents", [(), ("--with-payload",)], ids=" ".join)
def test_ids_come_from_rows_of_csv_and_from_what_a_spreadsheet_makes_of_them(failed, contents):
    cli, _ = failed
    exported = cli.run("invocations", "export", "--plugin", "acme", "--format", "csv", *contents).stdout
    names, *rows = exported.splitlines()
    assert (names.startswith('"referenceId",'), len(rows)) == (True, 4)
    for text in (exported, exported.replace('"', ""), "\ufeff" + exported):
        assert replay(cli, "plan", "--plugin", "acme", "--from-file", "-", text=text)["matched"] == len(rows)
    said = cli.run("replay", "plan", "--plugin", "acme", "--from-file", "-", text=names)
    assert (said.exit_code, "has no reference ids" in said.stderr) == (2, True)


@pytest.mark.parametrize(
    "line", ["x", "{}", "x,y", '"x","y"', '{"referenceId": 3}', "{", "[]", "\x1b[2J", '{"a":' * 100_000]
)
def test_a_file_with_an_invalid_id_is_wrong_usage_and_starts_nothing(failed, line):
    cli, made = failed
    result = cli.run("replay", "start", "--plugin", "acme", "--from-file", "-", text=f"{made[0]}\n{line}\n")
    assert result.exit_code == 2
    assert "Line 2" in result.output
    assert "\x1b" not in result.output
    assert replay(cli, "list", "--plugin", "acme") == []


@pytest.mark.parametrize(("text", "said"), [
    (b"", "has no reference ids"), (b"# none\n\n", "has no reference ids"), (b"{made}\n# \xff\n", "is not text"),
])  # fmt: skip
def test_a_file_without_ids_or_with_anything_but_text_is_wrong_usage(failed, text, said):
    cli, made = failed
    text = text.replace(b"{made}", made[0].encode())
    result = cli.run("replay", "start", "--plugin", "acme", "--from-file", "-", text=text)
    assert (result.exit_code, f"The file that --from-file names {said}." in result.output) == (2, True)
    assert replay(cli, "list", "--plugin", "acme") == []


def test_filters_do_not_go_with_a_file(failed):
    cli, made = failed
    arguments = ("--plugin", "acme", "--from-file", "-", "--webhook", "ping")
    assert cli.run("replay", "start", *arguments, text=made[0]).exit_code == 2


@pytest.mark.parametrize("rate", ["0", "-1", "x", "1/h", "10001", "nan", "inf", "0.0009", "1e-300"])
def test_an_invalid_rate_is_wrong_usage(failed, rate):
    cli, _ = failed
    assert cli.run("replay", "plan", "--plugin", "acme", "--rate", rate).exit_code == 2


def test_many_ids_are_not_kept_in_memory(tmp_path):
    count = 50_000
    file = tmp_path / "ids"
    with file.open("w") as out:
        out.writelines(f"{new_reference_id()}\n" for _ in range(count))
    with file.open() as source:
        ids = IdFile(source)
    assert ids.count == count
    assert sum(1 for _ in ids) == sum(1 for _ in ids) == count


def test_a_follower_ends_with_the_job_and_fails_where_it_was_cancelled(failed):
    import threading

    cli, _ = failed
    replay_id = start(cli)["replayId"]
    timer = threading.Timer(0.8, lambda: replay(cli, "cancel", replay_id))
    timer.start()
    result = cli.run("replay", "status", replay_id, "--follow", "--output", "json")
    timer.join()
    assert result.exit_code == 1
    assert json.loads(result.stdout)["state"] == "cancelled"


def follow_until(monkeypatch, look):
    """Let a command that follows a replay look again when ``look`` was called, and not wait."""
    monkeypatch.setattr("relay.cli.progress.time", SimpleNamespace(sleep=lambda _: look()))


def test_a_replay_is_followed_from_its_start_and_leaving_it_leaves_it_running(failed, monkeypatch):
    cli, _ = failed
    runtime = cli.runtime()

    def only():
        (job,) = runtime.replays.list("acme")
        return job

    def interrupt():
        raise KeyboardInterrupt

    follow_until(monkeypatch, interrupt)
    left = cli.run("replay", "start", "--plugin", "acme", "--follow")
    assert (left.exit_code, left.stdout) == (0, "")
    assert left.stderr == f"The replay goes on: relay replay status {only().replay_id}\n"
    assert not only().over
    follow_until(monkeypatch, lambda: runtime.replays.cancel("acme", only().replay_id))
    result = cli.run("replay", "status", only().replay_id, "--follow", "--output", "json")
    assert (result.exit_code, json.loads(result.stdout)["state"]) == (1, "cancelled")


def test_a_store_that_is_away_for_a_while_ends_no_following(failed, monkeypatch):
    cli, _ = failed
    replay_id = start(cli)["replayId"]
    runtime, get, looks = cli.runtime(), Replays.get, []

    def look():
        looks.append(1)
        if len(looks) == 3:
            runtime.replays.cancel("acme", replay_id)

    def get_if_there(replays, *names):
        if len(looks) in {1, 2}:
            raise Unavailable
        return get(replays, *names)

    follow_until(monkeypatch, look)
    monkeypatch.setattr(Replays, "get", get_if_there)
    result = cli.run("replay", "status", replay_id, "--follow", "--output", "json")
    assert (result.exit_code, json.loads(result.stdout)["state"], len(looks)) == (1, "cancelled", 3)


@pytest.mark.parametrize("most", [0, MAX_COUNT + 1, 10**21])
def test_a_replay_of_no_calls_or_of_more_than_a_thousand_million_is_wrong_usage(failed, most):
    cli, _ = failed
    result = cli.run("replay", "plan", "--plugin", "acme", "--max", str(most))
    assert (result.exit_code, "is not in the range 1<=x<=1000000000" in result.stderr) == (2, True)


@pytest.mark.parametrize("more", [("--max", "1"), ("--include-uncertain",)], ids=" ".join)
def test_a_plan_takes_no_option_beside_its_rate(failed, more):
    cli, _ = failed
    plan_id = replay(cli, "plan", "--plugin", "acme")["planId"]
    result = cli.run("replay", "start", plan_id, "--plugin", "acme", *more)
    assert (result.exit_code, "only --rate can be given with its id" in result.stderr) == (2, True)
    assert replay(cli, "list", "--plugin", "acme") == []
    assert start(cli, plan_id, "--rate", "2")["matched"] == 3
    assert replay(cli, "list", "--plugin", "acme")[0]["ratePerSecond"] == 2


@pytest.mark.parametrize(
    "command",
    [("replay", "plan"), ("replay", "start"), ("invocations", "list"), ("invocations", "export")],
    ids=" ".join,
)
def test_a_filter_of_a_webhook_that_there_never_was_says_so(failed, command):
    cli, _ = failed
    result = cli.run(*command, "--plugin", "acme", "--webhook", "pnig")
    assert result.exit_code == 2
    assert "Plugin `acme` has no webhook `pnig`. Did you mean `ping`?" in result.stderr
