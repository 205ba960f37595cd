"""Every command that acts leaves an entry with its operator; the trail is exported, checked and followed."""

import base64
import gzip
import json
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from relay.audit import verifying
from relay.audit.actor import system_user
from relay.audit.entry import Act
from relay.audit.signing_keys import new_private_text
from relay.domain.reference_id import new_reference_id
from relay.errors import Unavailable
from relay.store.keys import keyspace
from relay.store.trail.trail import Trail
from tests.unit.cli import a_webhook


@pytest.fixture
def audited(cli, monkeypatch):
    """The command with a signing key, key rings in files, and without waits."""
    monkeypatch.setattr("relay.cli.vault.SETTLED_S", 0.0)
    cli.keys["RELAY_AUDIT_KEY"] = new_private_text()
    cli.keys["RELAY_OPERATOR"] = "Ann Lee"
    cli.use_ring_files()
    return cli


def lines(cli):
    return [json.loads(line) for line in cli.run("audit", "export").stdout.splitlines()]


def entries(cli, *acts):
    return [line for line in lines(cli) if line.get("act") in acts]


def outcomes(cli, *acts):
    return [(line["act"], line.get("subject"), line["outcome"]) for line in entries(cli, *acts)]


def test_registrations_leave_entries_with_operator_revision_and_size(audited):
    audited.apply(a_webhook())
    audited.apply(a_webhook(), a_webhook(id="pong"))
    audited.apply(a_webhook(description="another"))
    audited.run("webhooks", "rollback", "ping", "--plugin", "acme")
    audited.run("webhooks", "set-secret", "ping", "--header", "Authorization", "--plugin", "acme", text="Bearer anew")
    audited.run("webhooks", "remove", "pong", "--plugin", "acme", "--yes")
    found = entries(audited, Act.WEBHOOK_APPLY, Act.WEBHOOK_ROLLBACK, Act.WEBHOOK_SET_SECRET, Act.WEBHOOK_REMOVE)
    assert {line["operator"] for line in found} == {"Ann Lee"}
    assert [(line["act"], line["subject"], line["revision"], line["outcome"]) for line in found] == [
        ("webhook_apply", "ping", 1, "created"),
        ("webhook_apply", "ping", 1, "unchanged"),
        ("webhook_apply", "pong", 1, "created"),
        ("webhook_apply", "ping", 2, "changed"),
        ("webhook_rollback", "ping", 3, "changed"),
        ("webhook_set_secret", "ping", 4, "changed"),
        ("webhook_remove", "pong", 1, "removed"),
    ]
    assert found[0]["sizes"][0] > 100


def test_what_holds_back_a_webhook_leaves_entries(audited):
    audited.apply(a_webhook())
    for command in ("pause", "pause", "resume", "close-breaker", "show", "history"):
        audited.run("webhooks", command, "ping", "--plugin", "acme")
    audited.run("explain", "ping", "--plugin", "acme")
    acts = (Act.WEBHOOK_PAUSE, Act.WEBHOOK_RESUME, Act.WEBHOOK_CLOSE_BREAKER, Act.WEBHOOK_SHOW)
    assert outcomes(audited, *acts) == [
        ("webhook_pause", "ping", "paused"),
        ("webhook_pause", "ping", "unchanged"),
        ("webhook_resume", "ping", "resumed"),
        ("webhook_close_breaker", "ping", "unchanged"),
        *[("webhook_show", "ping", "done")] * 3,
    ]


def test_keys_leave_entries_and_never_their_text(audited):
    made = audited.json("keys", "create", "--plugin", "acme", "--scope", "trigger")
    new = audited.json("keys", "rotate", made["id"])
    audited.run("keys", "revoke", new["id"])
    audited.run("keys", "list")
    assert outcomes(audited, Act.KEY_CREATE, Act.KEY_ROTATE, Act.KEY_REVOKE, Act.KEY_LIST) == [
        ("key_create", made["id"], "created"),
        ("key_rotate", made["id"], "rotated"),
        ("key_revoke", new["id"], "revoked"),
        ("key_list", None, "done"),
    ]
    (rotated,) = entries(audited, Act.KEY_ROTATE)
    assert rotated["references"] == [new["id"]]
    assert made["key"] not in json.dumps(lines(audited))


def test_triggers_and_invocations_leave_entries_and_nothing_of_what_was_sent(audited):
    audited.apply(a_webhook())
    accepted = audited.json("trigger", "ping", "--plugin", "acme", "--async", "--data", '{"planted": "content"}')
    ref = accepted["referenceId"]
    audited.run("trigger", "missing", "--plugin", "acme", "--async")
    audited.run("trigger", "ping", "--plugin", "acme", "--async", "--query", "unknown=1")
    for command in (("show", ref), ("cancel", ref), ("cancel", ref), ("forget", ref), ("show", new_reference_id())):
        audited.run("invocations", *command)
    audited.run("invocations", "list", "--plugin", "acme")
    audited.run("invocations", "export", "--plugin", "acme", "--with-payload")
    triggers = entries(audited, Act.TRIGGER)
    assert [(line["subject"], line["outcome"], line["operator"]) for line in triggers] == [
        ("ping", "accepted", "Ann Lee"),
        ("missing", "webhook_not_registered", "Ann Lee"),
        ("ping", "request_rejected", "Ann Lee"),
    ]
    assert triggers[0]["references"] == [ref]
    assert triggers[0]["sizes"][0] > 20
    acts = (Act.LOOK_UP, Act.CANCEL, Act.FORGET, Act.LIST, Act.EXPORT)
    assert [(act, outcome) for act, _, outcome in outcomes(audited, *acts)] == [
        ("look_up", "queued"),
        ("cancel", "cancelled"),
        ("cancel", "unchanged"),
        ("forget", "forgotten"),
        ("look_up", "not_found"),
        ("list", "done"),
        ("export", "begun"),
        ("export", "done"),
    ]
    everything = json.dumps(lines(audited))
    assert not [planted for planted in ("planted", "Bearer", "example.com") if planted in everything]


def test_replays_leave_entries(audited):
    audited.apply(a_webhook())
    audited.json("trigger", "ping", "--plugin", "acme", "--async")
    audited.run("replay", "plan", "--plugin", "acme")
    job = audited.json("replay", "start", "--plugin", "acme")["replayId"]
    for command in ("pause", "resume", "cancel", "resume"):
        audited.run("replay", command, job)
    acts = (Act.REPLAY_PLAN, Act.REPLAY_START, Act.REPLAY_PAUSE, Act.REPLAY_RESUME, Act.REPLAY_CANCEL)
    found = outcomes(audited, *acts)
    assert [act for act, _, _ in found] == [*acts, Act.REPLAY_RESUME]
    assert {subject for _, subject, _ in found[1:]} == {job}


def test_key_rings_leave_an_entry_before_and_one_of_how_it_ended(audited):
    (old,) = (row["key"] for row in audited.json("vault", "status", "--ring", "data"))
    for command in ("add", "promote", "reseal", "retire"):
        assert audited.run("vault", command, "--ring", "data").exit_code == 0
    acts = (Act.VAULT_ADD, Act.VAULT_PROMOTE, Act.VAULT_RESEAL, Act.VAULT_RETIRE)
    (new,) = (row["key"] for row in audited.json("vault", "status", "--ring", "data"))
    subjects = ("data", f"data:{new}", "data", f"data:{old}")
    assert outcomes(audited, *acts) == [
        (act, subject, outcome) for act, subject in zip(acts, subjects, strict=True) for outcome in ("begun", "done")
    ]


def test_who_names_no_operator_is_the_system_s_user(audited):
    del audited.keys["RELAY_OPERATOR"]
    audited.run("keys", "list")
    assert entries(audited, Act.KEY_LIST)[0]["operator"] == system_user()


def test_the_trail_is_found_good_and_a_change_fails_the_command(audited, tmp_path):
    audited.apply(a_webhook(), a_webhook(id="pong"))
    audited.run("keys", "list")
    audited.sign_trail()
    assert [row["good"] for row in audited.json("audit", "verify")] == [True, True]
    exported = tmp_path / "trail.jsonl"
    assert audited.json("audit", "export", "--file", str(exported))["entries"] >= 4
    assert oct(exported.stat().st_mode & 0o777) == "0o600"
    public = tmp_path / "audit.pub"
    public.write_text("\n".join(audited.json("audit", "key")))
    assert audited.run("audit", "verify", str(exported), "--key", str(public)).exit_code == 0
    audited.runtime().client.lset(keyspace.audit("entries"), 1, "1 forget k acme x     ")
    result = audited.run("audit", "verify")
    assert (result.exit_code, "Trail 0: Entry 2" in result.stderr) == (1, True)
    exported.write_text(exported.read_text().replace("pong", "ping"))
    result = audited.run("audit", "verify", str(exported))
    assert (result.exit_code, "Trail 0: Entry 2" in result.stderr) == (1, True)


def test_what_an_earlier_export_has_may_not_be_missing(audited, tmp_path):
    audited.apply(a_webhook())
    audited.run("keys", "list")
    audited.sign_trail()
    exported = tmp_path / "trail.jsonl"
    audited.run("audit", "export", "--file", str(exported))
    assert audited.run("audit", "verify", "--after", str(exported)).exit_code == 0
    audited.runtime().client.delete(keyspace.audit("entries"), keyspace.audit("head"))
    result = audited.run("audit", "verify", "--after", str(exported))
    assert (result.exit_code, "Trail 0: Entry 1" in result.stderr) == (1, True)


@pytest.fixture
def files(audited, tmp_path):
    """The command, and a function that writes lines of an export, some changed, into a file."""
    audited.apply(*(a_webhook(id=f"ping-{number}") for number in range(5)))
    audited.run("keys", "list")
    audited.sign_trail()
    found = lines(audited)

    def write(change=lambda line: line):
        path = tmp_path / "changed.jsonl"
        changed = (change(dict(line)) for line in found)
        path.write_text("".join(f"{json.dumps(line)}\n" for line in changed if line is not None))
        return str(path)

    return audited, write


@pytest.mark.parametrize("gone", ["0", "shared"])
def test_a_trail_of_an_earlier_export_that_is_gone_as_a_whole_is_named(files, tmp_path, gone):
    cli, write = files
    earlier = tmp_path / "earlier.jsonl"
    cli.run("audit", "export", "--file", str(earlier))
    later = write(lambda line: None if line["trail"] == gone else line)
    rows = {
        row["trail"]: row["wrong"] for row in cli.json("audit", "verify", later, exit_code=1 if gone == "shared" else 0)
    }
    assert {name for name, wrong in rows.items() if wrong is None} == {"0", "shared"} - {gone}
    rows = {
        row["trail"]: row["wrong"] for row in cli.json("audit", "verify", later, "--after", str(earlier), exit_code=1)
    }
    assert rows.keys() == {"0", "shared"}
    assert (rows[gone]["seq"], rows[gone]["what"]) == (1, "cut")


def test_what_proves_nothing_is_not_good(files, tmp_path, monkeypatch):
    cli, write = files
    monkeypatch.setattr(verifying, "YOUNG_MS", -1)

    def said(*words):
        result = cli.run("audit", "verify", *words, "--output", "json")
        found = {row["trail"]: (row["good"], (row["wrong"] or {}).get("what")) for row in json.loads(result.stdout)}
        return result.exit_code, found

    def unsigned(line):
        return None if "checkpoint" in line else {**line, "act": "webhook_pause"} if line.get("plugin") else line

    tailed = tmp_path / "tail.jsonl"
    shown = cli.run("audit", "tail", "--no-follow", "--output", "json", "--act", "webhook_apply", "--from", "0", "3")
    tailed.write_text(shown.stdout)
    assert said(write(unsigned)) == (1, {"0": (False, "unsigned"), "shared": (False, "unsigned")})
    assert said(write(lambda line: None)) == (1, {"shared": (False, "missing")})
    assert said(str(tailed)) == (1, {"0": (False, "unsigned"), "shared": (False, "missing")})
    shared_only = write(lambda line: line if line["trail"] == "shared" else None)
    assert said(shared_only) == (0, {"shared": (True, None)})
    for nothing in (write(unsigned), write(lambda line: None)):
        refused = cli.run("audit", "verify", "--after", nothing)
        assert (refused.exit_code, "--after names has no checkpoints" in refused.stderr) == (2, True)


def test_a_relay_that_has_signed_nothing_for_a_while_is_not_called_good(audited, monkeypatch):
    audited.apply(a_webhook())
    monkeypatch.setattr(verifying, "YOUNG_MS", 10**9)
    assert audited.run("audit", "verify").exit_code == 0  # a worker may still come to sign it
    monkeypatch.setattr(verifying, "YOUNG_MS", -1)
    rows = {row["trail"]: row for row in audited.json("audit", "verify", exit_code=1)}
    assert [(row["good"], row["wrong"]["what"]) for row in rows.values()] == [(False, "unsigned")] * 2
    assert "start a worker" in rows["0"]["wrong"]["sentence"]
    audited.sign_trail()
    assert audited.run("audit", "verify").exit_code == 0


@pytest.mark.parametrize("numbers", [{1}, {2}, {5}, {2, 4}, {3, 4, 5}, {1, 2, 3, 4, 5}])
def test_the_first_entry_with_another_number_in_the_file_is_named(files, numbers):
    cli, write = files

    def renumbered(line):
        moved = line["trail"] == "0" and line.get("seq") in numbers
        return {**line, "seq": line["seq"] + 1} if moved else line

    wrong = {row["trail"]: row["wrong"] for row in cli.json("audit", "verify", write(renumbered), exit_code=1)}
    assert (wrong["0"]["seq"], wrong["0"]["what"], wrong["shared"]) == (min(numbers), "edited", None)


def test_the_trail_is_followed_from_a_number_on(audited):
    audited.apply(a_webhook(), a_webhook(id="pong"), a_webhook(id="pang"))
    audited.sign_trail()
    shown = audited.run("audit", "tail", "--no-follow", "--from", "0", "2", "--output", "json").stdout.splitlines()
    subjects = [line["subject"] for line in map(json.loads, shown) if line["trail"] == "0"]
    assert subjects == ["pong", "pang"]
    words = audited.run("audit", "tail", "--no-follow", "--lines", "2").stdout
    assert "Ann Lee  webhook_apply  acme/pang  created" in words


def test_entries_are_selected_by_who_what_on_what_how_and_when(audited):
    audited.apply(a_webhook(), a_webhook(id="pong"))
    audited.apply(a_webhook(), plugin="other")
    audited.keys["RELAY_OPERATOR"] = "Bob"
    audited.apply(a_webhook(description="another"))
    audited.sign_trail()
    applied = ["--act", "webhook_apply"]

    def found(*options):
        rows = audited.json("audit", "list", *options)
        assert [row["at"] for row in rows] == sorted((row["at"] for row in rows), reverse=True)
        shown = audited.run("audit", "tail", "--no-follow", "--lines", "1000", "--output", "json", *options).stdout
        tailed = [
            line for line in map(json.loads, shown.splitlines()) if line["act"] not in {"audit_tail", "audit_list"}
        ]
        names = [(row["operator"], row["plugin"], row["subject"], row["outcome"]) for row in rows if "plugin" in row]
        assert names[::-1] == [(row["operator"], row["plugin"], row["subject"], row["outcome"]) for row in tailed]
        return names

    newest_ping = ("Bob", "acme", "ping", "changed")
    first_ping, pong = ("Ann Lee", "acme", "ping", "created"), ("Ann Lee", "acme", "pong", "created")
    others = ("Ann Lee", "other", "ping", "created")
    assert found(*applied) == [newest_ping, others, pong, first_ping]
    assert found(*applied, "--plugin", "acme", "--subject", "ping") == [newest_ping, first_ping]
    assert found(*applied, "--actor", "Bob") == [newest_ping]
    assert found(*applied, "--outcome", "created", "--plugin", "other") == [others]
    assert found(*applied, "--since", "15m", "--until", "2099-01-01T00:00:00Z")[0] == newest_ping
    assert found(*applied, "--until", "10m") == found(*applied, "--since", "2099-01-01T00:00:00Z") == []
    assert len(audited.json("audit", "list", *applied, "--limit", "2")) == 2
    assert "Bob  webhook_apply  acme/ping  changed" in audited.run("audit", "list", "--actor", "Bob").stdout


@pytest.mark.parametrize("command", [("list",), ("tail", "--no-follow", "--lines", "1000")])
def test_both_times_of_a_selection_are_inclusive(audited, command):
    applied = ["--act", "webhook_apply"]
    for number in range(3):
        audited.apply(a_webhook(description=f"number {number}"))
        time.sleep(0.005)
    first, second, third = [row["at"] for row in audited.json("audit", "list", *applied)][::-1]

    def found(*options):
        said = audited.run("audit", *command, *applied, *options, "--output", "json").stdout
        lines = json.loads(said) if command == ("list",) else map(json.loads, said.splitlines())
        return sorted(line["at"] for line in lines)

    assert found("--since", second) == [second, third]
    assert found("--until", second) == [first, second]
    assert found("--since", second, "--until", second) == [second]
    assert found("--since", third, "--until", first) == []


def test_everything_is_listed_once_across_the_segments_of_a_trail(audited, monkeypatch):
    monkeypatch.setattr("relay.upkeep.checkpointing.SEGMENT_ENTRIES", 3)
    monkeypatch.setattr("relay.store.trail.trail._PAGE", 2)
    for number in range(20):
        audited.apply(a_webhook(description=f"number {number}"))
        audited.sign_trail()
    assert Trail(audited.runtime().client).end().segments > 4
    rows = [row for row in audited.json("audit", "list", "--limit", "1000") if row["trail"] == "0"]
    assert [row["seq"] for row in rows] == list(range(20, 0, -1))


def test_the_history_of_a_webhook_says_who_and_when(audited):
    audited.apply(a_webhook())
    audited.keys["RELAY_OPERATOR"] = "Bob"
    audited.apply(a_webhook(description="another"))
    rows = audited.json("webhooks", "history", "ping", "--plugin", "acme")
    assert [(row["revision"], row["by"]) for row in rows] == [(2, "Bob"), (1, "Ann Lee")]
    made = {line["revision"]: line["at"] for line in entries(audited, Act.WEBHOOK_APPLY)}
    assert {row["revision"]: row["at"] for row in rows} == made


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        "7",
        "[" * 100_000,
        '{"beginning": {}}',
        '{"checkpoint": 7, "signature": ""}',
        '{"checkpoint": {}, "signature": "?"}',
        '{"trail": "b"}\n{"trail": "a"}',  # the lines of a trail stand together
    ],
)
def test_a_line_that_is_not_of_an_export_is_named(audited, tmp_path, line):
    file = tmp_path / "x"
    file.write_text(f'{{"trail": "a"}}\n\n{line}')
    number = 3 + line.count("\n")
    result = audited.run("audit", "verify", str(file))
    assert (result.exit_code, f"Line {number} " in result.stderr) == (2, True)


def test_an_export_that_gzip_has_packed_is_verified_and_compared_with(files, tmp_path):
    cli, write = files
    packed = tmp_path / "trail.jsonl.gz"
    packed.write_bytes(gzip.compress(Path(write()).read_bytes()))
    rows = cli.json("audit", "verify", str(packed), "--after", str(packed))
    assert rows == cli.json("audit", "verify", write())
    assert all(row["good"] for row in rows)
    assert cli.json("audit", "verify", "-", text=packed.read_bytes()) == rows


def test_a_file_whose_line_never_ends_is_refused(audited, monkeypatch):
    monkeypatch.setattr("relay.audit.packed_file._MAX_LINE_BYTES", 4096)
    result = audited.run("audit", "verify", "/dev/zero")
    assert (result.exit_code, "a line that is too long" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\xff\xfe\x00\x01", "Line 1 of the file is not a line of `relay audit export`"),
        (b'{"trail": "0"}\n\xe9', "Line 2 of the file is not a line of `relay audit export`"),
        (gzip.compress(b"{}" * 999, mtime=0)[:-9], "cannot be read to its end"),
    ],
)
@pytest.mark.parametrize("option", [(), ("--after",)], ids=["FILE", "--after"])
def test_a_file_that_is_no_export_is_refused_with_a_sentence(audited, tmp_path, option, content, says):
    file = tmp_path / "x"
    file.write_bytes(content)
    result = audited.run("audit", "verify", *option, str(file))
    assert (result.exit_code, says in result.stderr) == (2, True)


def test_an_invalid_key_is_refused(audited, tmp_path):
    file = tmp_path / "x"
    file.write_bytes(b"\xff\xfe")
    result = audited.run("audit", "verify", "--key", str(file))
    assert (result.exit_code, "does not hold public keys" in result.stderr) == (2, True)
    file.write_text(base64.b64encode(b"short").decode())
    assert audited.run("audit", "verify", "--key", str(file)).exit_code == 1
    del audited.keys["RELAY_AUDIT_KEY"]
    result = audited.run("audit", "verify")
    assert (result.exit_code, "RELAY_AUDIT_KEY is not set" in result.stderr) == (1, True)
    assert len(base64.b64decode(audited.json("audit", "key", "--new")[0])) == 32


@pytest.fixture
def away(audited, monkeypatch):
    """The command, while the server of the trail of partition 0 does not answer."""
    audited.apply(a_webhook())
    audited.run("keys", "list")
    audited.sign_trail()
    for name in ("blocks", "after"):
        monkeypatch.setattr(Trail, name, without_first(getattr(Trail, name)))
    return audited


def without_first(asked):
    def ask(trail, *args):
        if trail.name == "0":
            raise Unavailable
        return asked(trail, *args)

    return ask


@pytest.mark.parametrize(
    "command",
    [("list",), ("tail", "--no-follow", "--output", "json")],
    ids=" ".join,
)
def test_what_a_trail_that_is_away_would_have_shown_is_said_to_be_missing(away, monkeypatch, command):
    monkeypatch.setattr(Trail, "last_number", without_first(Trail.last_number))
    result = away.run("audit", *command)
    missing = "Trail 0: it did not answer, and its entries are missing here.\n"
    assert (result.exit_code, result.stderr) == (1, missing)
    assert "shared" in result.stdout
    assert "webhook_apply" not in result.stdout


@pytest.mark.parametrize("options", [(), ("--file", "trail.jsonl")], ids=" ".join)
@pytest.mark.parametrize("begins", ["before", "meanwhile"])
def test_no_export_is_made_while_a_trail_is_away(away, tmp_path, monkeypatch, options, begins):
    if begins == "before":
        monkeypatch.setattr(Trail, "last_number", without_first(Trail.last_number))
    monkeypatch.chdir(tmp_path)
    earlier, names = tmp_path / "trail.jsonl", {"trail.jsonl", *(path.name for path in tmp_path.iterdir())}
    earlier.write_text("an earlier export\n")
    result = away.run("audit", "export", *options)
    assert (result.exit_code, "these did not answer: 0." in result.stderr) == (1, True)
    assert (earlier.read_text(), {path.name for path in tmp_path.iterdir()}) == ("an earlier export\n", names)
    if options or begins == "before":
        assert result.stdout == ""
    listed = away.run("audit", "list", "--act", "audit_export", "--output", "json").stdout
    assert [row["outcome"] for row in json.loads(listed)] == ["unavailable", "begun"]


def test_a_trail_whose_server_is_away_is_named_and_the_others_are_checked(away):
    rows = {row["trail"]: row for row in away.json("audit", "verify", exit_code=1)}
    assert (rows["0"]["good"], rows["0"]["wrong"]["what"]) == (False, "away")
    assert (rows["shared"]["good"], rows["shared"]["wrong"]) == (True, None)


def test_while_a_trail_is_away_the_others_are_followed(away, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("relay.cli.audit.time", SimpleNamespace(sleep=interrupt))
    result = away.run("audit", "tail", "--lines", "0", "--output", "json")
    shown = [json.loads(line) for line in result.stdout.splitlines()]
    assert {line["trail"] for line in shown} == {"shared"}
    assert shown[-1]["act"] == Act.AUDIT_TAIL
    assert result.stderr.count("Trail 0: ") == 1


@pytest.mark.parametrize("begins", [(("nowhere", "1"),), (("{0}", "1"), ("nowhere", "1"))])
def test_a_trail_that_there_is_not_cannot_be_begun_with(audited, begins):
    places = [word for name, seq in begins for word in ("--from", name, seq)]
    result = audited.run("audit", "tail", "--no-follow", *places)
    assert (result.exit_code, "There is no trail `" in result.stderr) == (2, True)
