"""What operators see on a terminal of 80 columns, and what commands do without `--plugin`."""

import errno
import json
import os
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from relay.cli import main
from relay.cli.completion import NEWEST
from relay.domain.reference_id import new_reference_id
from relay.rotation.ring_file import RingFile
from relay.store.replays.runs import NewReplay
from relay.up.datadir import DataDir
from tests.store_keys import KEYS
from tests.unit.cli import a_webhook
from tests.unit.forked_command import start_command
from tests.unit.test_cli_invocations import settle, trigger

RED = "\x1b[31m"
LONG = "a-webhook-with-a-name-that-is-long-indeed"


@pytest.fixture
def story(cli):
    """One delivered invocation and two failed ones, of a webhook with a long name."""
    cli.apply(
        a_webhook(idempotent=True, description="What it is for, in rather many words for a table"), a_webhook(id=LONG)
    )
    made = [trigger(cli, "--async")["referenceId"] for _ in range(3)]
    cli.json("trigger", LONG, "--plugin", "acme", "--async")
    settle(cli, made[0])
    for ref in made[1:]:
        settle(cli, ref, status=503)
    return cli, made


def replayed(cli, ref, status):
    """Replay an invocation, with this status as the answer."""
    started = cli.json("replay", "start", ref, "--plugin", "acme")
    runs = cli.runtime().replay_runs
    runs.claim(started["replayId"], "t")
    (shape,) = (each for each in cli.runtime().registry.shapes("acme") if each.shape.webhook_id == "ping")
    again = new_reference_id()
    runs.create(started["replayId"], "t", 0, [NewReplay(again, shape.number, 20_000, True, b"sealed")])
    settle(cli, again, status=status)
    return again


def test_failed_leaves_out_what_a_replay_has_made_good_and_a_column_shows_it(story):
    cli, made = story

    def failed(*more):
        rows = cli.json("invocations", "list", "--plugin", "acme", "--failed", *more)
        return [row["referenceId"] for row in rows]

    assert failed() == [made[2], made[1]]
    again = replayed(cli, made[1], 503)
    assert failed() == [again, made[2], made[1]]
    replayed(cli, made[1], 200)
    assert failed() == [made[2]]  # the failed replay was recovered, together with its original
    assert made[1] in failed("--with-replayed")
    plain = cli.run("invocations", "list", "--plugin", "acme", "--failed").stdout
    assert ("created (UTC)" in plain, "its replay" in plain) == (True, False)
    shown = cli.run("invocations", "list", "--plugin", "acme", "--failed", "--with-replayed").stdout
    (line,) = (line for line in shown.splitlines() if line.startswith(made[1]))
    assert line.split()[-2:] == ["delivered", "200"]
    assert cli.run("invocations", "list", "--plugin", "acme", "--with-replayed").exit_code == 2


@pytest.mark.parametrize(
    "command",
    [("invocations", "list"), ("invocations", "list", "--group"), ("invocations", "list", "--failed", "--with-replayed"),
     ("webhooks", "list"), ("webhooks", "show", "ping"), ("keys", "list"), ("replay", "list"), ("replay", "plan"),
     ("webhooks", "history", "ping")],
    ids=" ".join,
)  # fmt: skip
def test_a_table_fits_80_columns_with_whole_reference_ids(story, terminal, command):
    cli, made = story
    cli.json(
        "keys",
        "create",
        "--plugin",
        "acme",
        "--scope",
        "trigger",
        "--origin",
        "https://app.example.com",
        "--name",
        "the app",
    )
    cli.json("replay", "start", made[1], made[2], "--plugin", "acme")
    code, shown = terminal(*command, "--plugin", "acme", environ={"NO_COLOR": "1"})
    assert code == 0
    plain = [line for line in shown.replace("\x1b[1m", "").replace("\x1b[0m", "").splitlines() if "\x1b" not in line]
    assert max(map(len, plain)) <= 80
    if command[:2] == ("invocations", "list") and "--group" not in command:
        assert made[2] in shown


def test_failures_are_red_on_a_terminal_and_plain_elsewhere(story, terminal):
    cli, _ = story
    _, shown = terminal("invocations", "list", "--plugin", "acme")
    assert f"{RED}failed 503" in shown
    assert f"{RED}delivered" not in shown
    assert "\x1b" not in cli.run("invocations", "list", "--plugin", "acme").stdout
    code, shown = terminal("invocations", "list", "--plugin", "nobody")
    assert (code, f"{RED}Error:" in shown) == (2, True)


def test_a_list_of_webhooks_shows_what_is_paused_and_what_has_an_open_breaker(story):
    cli, _ = story
    cli.json("webhooks", "pause", "ping", "--plugin", "acme")
    cli.runtime().client.hset(
        "relay:{0}:p:acme:policy:" + LONG,
        mapping={"failures": 20, "openUntil": 9_999_999_999_999, "openFor": 9_999_999_999_999},
    )
    rows = {row["id"]: (row["paused"], row["breaker"]) for row in cli.json("webhooks", "list", "--plugin", "acme")}
    assert rows == {"ping": (True, "closed"), LONG: (False, "open")}
    shown = cli.run("webhooks", "list", "--plugin", "acme").stdout
    assert "paused" in shown
    assert "breaker open" in shown
    told = cli.run("webhooks", "show", LONG, "--plugin", "acme").stdout
    assert "breaker open until 2286-11-20" in told
    assert "{" not in told


def test_the_plugin_of_the_environment_or_of_the_data_directory_stands_in_for_the_option(story, tmp_path):
    cli, _ = story
    environ = {**cli.environ, "RELAY_PLUGIN": "acme"}
    assert "ping" in cli.run("webhooks", "list", environ=environ).stdout
    assert "ping" not in cli.run("webhooks", "list", "--plugin", "other", environ=environ).stdout
    result = cli.run("webhooks", "list")
    assert result.exit_code == 2
    assert "Missing option '--plugin'. Or set RELAY_PLUGIN." in result.stderr
    env_file = tmp_path / "relay.env"
    env_file.write_text("RELAY_PLUGIN=acme\n")
    env_file.chmod(0o600)
    assert "ping" in cli.run("webhooks", "list").stdout
    result = cli.run("webhooks", "list", environ={**cli.environ, "RELAY_PLUGIN": "A B"})
    assert (result.exit_code, "Invalid value for '--plugin'" in result.stderr) == (2, True)


def test_a_server_that_is_down_is_said_with_what_to_do(cli):
    environ = {**cli.environ, "RELAY_REDIS_URL": "redis://127.0.0.1:1/0"}
    result = cli.run("webhooks", "list", "--plugin", "acme", environ=environ)
    assert result.exit_code == 1
    assert "`relay up` starts it" in result.stderr
    assert "`relay doctor` says what is wrong" in result.stderr
    assert "relay up" in cli.run("webhooks", "list", "--plugin", "acme", environ={}).stderr


def complete(cli, words, shell="bash", **more):
    """Return what the shell is offered for the last of these words; zsh also gets a line of help for each."""
    typed = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1 + words.endswith(" "))}
    environ = {**cli.environ, "_RELAY_COMPLETE": f"{shell}_complete"}
    done = CliRunner().invoke(main, env={**environ, **typed, **more}, prog_name="relay")
    assert (done.exit_code, done.stderr) == (0, "")
    shown = done.stdout.splitlines()
    if shell == "zsh":
        return dict(zip(shown[1::3], shown[2::3], strict=True))
    return [line.partition(",")[2] for line in shown if line]


def test_the_shell_completes_commands_plugins_webhooks_keys_and_reference_ids(story):
    cli, made = story
    key = cli.json("keys", "create", "--plugin", "acme", "--scope", "trigger")["id"]
    assert complete(cli, "relay webh") == ["webhooks"]
    assert complete(cli, "relay webhooks show --plugin ") == ["acme"]
    assert complete(cli, "relay webhooks show --plugin acme p") == complete(cli, "relay webhooks show p") == ["ping"]
    assert complete(cli, "relay webhooks show --plugin acme ing") == []
    assert complete(cli, "relay invocations list --webhook ", RELAY_PLUGIN="acme") == [LONG, "ping"]
    assert key in complete(cli, "relay keys revoke ")
    assert set(made) < set(complete(cli, "relay invocations show "))
    assert complete(cli, "relay webhooks show --plugin ", RELAY_REDIS_URL="redis://127.0.0.1:1/0") == []


def test_the_shell_is_offered_what_the_plugin_that_is_meant_has_with_what_it_is(story):
    cli, made = story
    cli.apply(a_webhook(id="far"), plugin="other")
    elsewhere = cli.json("trigger", "far", "--plugin", "other", "--async")["referenceId"]
    job = cli.json("replay", "start", "--plugin", "acme")["replayId"]
    cli.json("secrets", "set", "TOKEN", "--plugin", "acme", text="a-planted-secret")
    ids = [
        cli.json("keys", "create", "--plugin", "acme", "--scope", "trigger", *name)["id"]
        for name in ((), ("--name", "nightly"), ())
    ]
    cli.json("keys", "revoke", ids.pop())
    assert set(complete(cli, "relay webhooks show ")) == {"far", LONG, "ping"}
    assert complete(cli, "relay webhooks show --plugin other ") == ["far"]
    assert complete(cli, "relay webhooks show ", "zsh", RELAY_PLUGIN="acme") == {
        LONG: "_",
        "ping": "What it is for, in rather many words for a table",
    }
    assert complete(cli, "relay keys revoke ", "zsh") == {ids[0]: "acme", ids[1]: "acme nightly"}
    assert complete(cli, "relay secrets remove --plugin acme ") == ["TOKEN"]
    assert complete(cli, "relay secrets remove --plugin other ") == complete(cli, "relay secrets remove ") == []
    for words in ("relay replay pause ", "relay replay pause --plugin acme "):
        assert complete(cli, words, "zsh") == {job: "running"}
    assert complete(cli, "relay replay pause --plugin other ") == []
    assert complete(cli, "relay invocations show --plugin other ", "zsh") == {elsewhere: "far queued"}
    everywhere = complete(cli, "relay invocations show ", "zsh")
    assert everywhere.items() >= {elsewhere: "far queued", made[0]: "ping delivered"}.items()
    cli.runtime().client.hset(KEYS.record(elsewhere), "state", "nonsense")
    assert complete(cli, "relay invocations show --plugin other ", "zsh") == {elsewhere: "far damaged"}
    for _ in range(NEWEST + 1):
        cli.json("trigger", "far", "--plugin", "other", "--async")
    assert len(complete(cli, "relay invocations show --plugin other ")) == NEWEST


@pytest.mark.parametrize(
    ("command", "said"),
    [("promote", "Nothing new to promote: relay vault add makes a key."), ("retire", "Nothing to retire")],
)
def test_a_step_of_a_rotation_that_has_nothing_to_do_says_so(cli, tmp_path, monkeypatch, command, said):
    monkeypatch.setattr("relay.cli.vault.SETTLED_S", 0.0)
    for ring in ("target", "data"):
        path = tmp_path / f"{ring}.keys"
        path.write_text(cli.keys[f"RELAY_{ring.upper()}_KEYS"])
        path.chmod(0o600)
    assert said in cli.run("vault", command).stdout
    cli.json("vault", "add")
    if command == "retire":
        cli.json("vault", "promote")
    assert said not in cli.run("vault", command).stdout


@pytest.mark.parametrize("command", ["add", "promote", "reseal", "retire", "rotate"])
def test_a_ring_that_is_in_the_environment_is_not_rotated_and_what_to_do_is_said(cli, command):
    refused = cli.run("vault", command, "--ring", "data")
    assert refused.exit_code == 1
    assert "The data ring is in the environment: put it into a file (mode 0600)" in refused.stderr
    assert "RELAY_DATA_KEYS_FILE" in refused.stderr
    act = "add" if command == "rotate" else command
    (left, *_) = cli.json("audit", "list", "--act", f"vault_{act}")
    assert (left["subject"], left["outcome"]) == ("data", "bad_settings")


@pytest.mark.parametrize(("age_s", "wait_s"), [(-100, 3), (0, 3), (1, 2), (2.5, 0.5), (3, 0), (9_999, 0)])
def test_a_step_that_needs_every_process_to_know_a_ring_waits_until_it_must_have_been_read(
    cli, monkeypatch, age_s, wait_s
):
    cli.use_ring_files(keys=2)
    pauses, changed_s = [], 1_700_000_000
    clock = SimpleNamespace(time=lambda: changed_s + age_s, sleep=pauses.append)
    for command, rings in (("status", 0), ("promote", 2), ("reseal", 2), ("retire", 2), ("add", 0)):
        for ring in ("target", "data"):
            os.utime(cli.directory / f"{ring}.keys", (changed_s, changed_s))
        with monkeypatch.context() as patch:
            patch.setattr("relay.cli.vault.time", clock)
            assert cli.run("vault", command).exit_code == 0
        assert (command, pauses) == (command, [pytest.approx(wait_s)] * rings)
        pauses.clear()


def test_a_rotation_says_what_it_did(cli, monkeypatch):
    monkeypatch.setattr("relay.cli.vault.SETTLED_S", 0.0)
    cli.use_ring_files()
    cli.apply(a_webhook())
    cli.run("vault", "rotate")
    *promoted, counts = cli.run("vault", "rotate").stdout.splitlines()
    assert [line.split(" seals with ")[0] for line in promoted] == ["target:", "data:"]
    assert counts == "1 values resealed, 2 old keys retired"
    assert cli.json("vault", "reseal") == {"resealed": 0, "current": 1, "unreadable": 0}
    assert cli.run("vault", "reseal").stdout.startswith("Values: 0 resealed, 1 current, 0 unreadable\n")


@pytest.mark.parametrize("command", ["add", "promote", "reseal", "retire", "rotate"])
def test_a_ring_is_not_changed_while_another_command_changes_it(cli, monkeypatch, command):
    monkeypatch.setattr("relay.cli.vault.SETTLED_S", 0.0)
    cli.use_ring_files(keys=2)
    ring = (cli.directory / "data.keys").read_text()
    with DataDir(cli.directory).lock_rings():
        refused = cli.run("vault", command, "--ring", "data")
        assert cli.run("vault", "status").exit_code == 0
    assert (refused.exit_code, "Another `relay vault` command" in refused.stderr) == (1, True)
    assert (cli.directory / "data.keys").read_text() == ring
    act = "add" if command == "rotate" else command
    (left, *_) = cli.json("audit", "list", "--act", f"vault_{act}")
    assert (left["subject"], left["outcome"]) == ("data", "conflict")
    assert cli.run("vault", command, "--ring", "data").exit_code == 0


def test_every_key_that_was_said_to_be_added_is_in_the_ring_although_several_are_added_at_once(cli, tmp_path):
    cli.use_ring_files()
    command = ["--data-dir", str(cli.directory), "vault", "add", "--ring", "target", "--output", "json"]
    environ, outs = {**os.environ, **cli.environ}, [tmp_path / f"out{number}" for number in range(4)]
    started = [start_command(command, environ, [os.devnull, str(out), os.devnull]) for out in outs]
    for each in started:
        each.join()
    said = [json.loads(out.read_text()) for out in outs]
    added = [each["target"] for each in said if "target" in each]
    assert added
    assert {each["code"] for each in said if "target" not in each} <= {"conflict"}
    assert RingFile("target", cli.directory / "target.keys").key_ids()[1:] == tuple(sorted(added))


@pytest.mark.parametrize("words", ["nope", "{'a': 1}", "{", "", "[NaN]", "[" * 40])
@pytest.mark.parametrize("command", ["trigger", "explain"])
def test_an_error_in_data_that_is_not_json_names_the_option_and_not_a_body(story, command, words):
    result = story[0].run(command, "ping", "--plugin", "acme", "--data", words)
    assert result.exit_code == 2
    assert "Error: --data is n" in result.stderr
    assert "body" not in result.stderr


FULL = {
    "the data directory": ["up", "--port", "0", "--flower-port", "0"],
    "a key ring": ["vault", "add"],
}


@pytest.mark.parametrize("what", FULL)
@pytest.mark.parametrize("form", ["table", "json"])
def test_a_full_disk_ends_a_command_with_a_sentence(cli, tmp_path, monkeypatch, what, form):
    made = os.open
    cli.use_ring_files()
    (tmp_path / "lock").touch()

    def full(path, flags, *more, **named):
        if flags & os.O_CREAT:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return made(path, flags, *more, **named)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "open", full)
    said = cli.run(*FULL[what], "--output", form)
    assert said.exit_code == 1, said.output
    assert "A file cannot be read or written: No space left on device (" in said.stderr
    assert ('"code": "bad_settings"' in said.stdout) == (form == "json")
