import re

import pytest

from relay.cli.keys import _line
from relay.cli.output import bad
from relay.errors import Unauthenticated
from relay.store.keys import keyspace
from relay.text.timestamps import read_rfc3339

MALFORMED = [
    ("--plugin", "Acme", "--scope", "trigger"),
    ("--plugin", "acme", "--scope", "admin"),
    ("--plugin", "acme"),
    ("--scope", "trigger"),
    ("--plugin", "acme", "--scope", "trigger", "--origin", "*"),
    ("--plugin", "acme", "--scope", "trigger", "--origin", "https://app.example.com/path"),
]


def test_a_key_is_made_with_the_documented_members(cli):
    made = cli.json(
        "keys",
        "create",
        "--plugin",
        "acme",
        "--scope",
        "operate",
        "--scope",
        "trigger",
        "--origin",
        "https://a.example",
    )
    assert list(made) == ["id", "key", "plugin", "scopes", "origins"]
    assert made["scopes"] == ["trigger", "operate"]
    assert made["origins"] == ["https://a.example"]
    assert cli.runtime().api_keys.authenticate(made["key"]).id == made["id"]


def test_a_key_is_shown_to_people_in_one_piece(cli):
    result = cli.run("keys", "create", "--plugin", "acme", "--scope", "trigger")
    assert result.exit_code == 0
    text = re.search(r"whk_[0-9a-f]{16}_[0-9A-Za-z]{43}", result.stdout)[0]
    assert cli.runtime().api_keys.authenticate(text)


def test_a_list_shows_the_end_of_the_secret_only(cli):
    made = cli.json("keys", "create", "--plugin", "acme", "--scope", "trigger")
    cli.json("keys", "create", "--plugin", "other", "--scope", "trigger")
    (row,) = cli.json("keys", "list", "--plugin", "acme")
    assert list(row) == [
        *("id", "plugin", "scopes", "origins", "last4", "createdAt"),
        *("revoked", "name", "expiresAt", "lastUsedAt"),
    ]
    assert made["key"].endswith(row["last4"])
    assert len(cli.json("keys", "list")) == 2
    for form in ("json", "table"):
        secret = made["key"].rsplit("_", 1)[1]
        assert secret not in cli.run("keys", "list", "--output", form).output


def test_a_revoked_key_is_refused(cli):
    made = cli.json("keys", "create", "--plugin", "acme", "--scope", "trigger")
    assert cli.json("keys", "revoke", made["id"])["revoked"] is True
    with pytest.raises(Unauthenticated):
        cli.runtime().api_keys.authenticate(made["key"])


def test_a_key_with_a_name_and_an_end_is_listed_with_both(cli):
    made = cli.json("keys", "create", "--plugin", "acme", "--scope", "trigger", "--name", "nightly", "--expires", "90d")
    (row,) = cli.json("keys", "list")
    assert (row["name"], row["expiresAt"]) == (made["name"], made["expiresAt"])
    assert row["lastUsedAt"] is None
    cli.runtime().api_keys.authenticate(made["key"])
    assert cli.json("keys", "list")[0]["lastUsedAt"]


@pytest.mark.parametrize("text", ["0", "-1d", "90 days", "11y", "4000d", ""])
def test_an_invalid_duration_is_wrong_usage(cli, text):
    arguments = ("--plugin", "acme", "--scope", "trigger", "--expires", text)
    assert cli.run("keys", "create", *arguments).exit_code == 2


def test_a_rotated_key_works_beside_the_new_one_for_the_overlap(cli):
    old = cli.json("keys", "create", "--plugin", "acme", "--scope", "operate", "--origin", "https://a.example")
    new = cli.json("keys", "rotate", old["id"], "--overlap", "1h")
    assert (new["scopes"], new["origins"], new["replaces"]) == (["operate"], ["https://a.example"], old["id"])
    keys = cli.runtime().api_keys
    assert {keys.authenticate(each["key"]).id for each in (old, new)} == {old["id"], new["id"]}
    ends = {row["id"]: row["expiresAt"] for row in cli.json("keys", "list")}
    assert ends == {old["id"]: new["replacedUntil"], new["id"]: None}


@pytest.mark.parametrize("expires", [(), ("--expires", "90d")], ids=["for ever", "90d"])
def test_a_key_lives_as_long_as_the_one_that_it_follows_was_to_however_often_that_is_rotated(cli, expires):
    old = cli.json("keys", "create", "--plugin", "acme", "--scope", "operate", *expires)
    for overlap in ("2h", "1h", "1h"):
        new = cli.json("keys", "rotate", old["id"], "--overlap", overlap)
        made = next(key for key in cli.runtime().api_keys.list() if key.id == new["id"])
        lifetime_ms = made.expires_at_ms and made.expires_at_ms - made.created_at_ms
        assert lifetime_ms == (90 * 24 * 3_600_000 if expires else None)


def test_rotating_a_key_that_has_ended_fails(cli):
    made = cli.json("keys", "create", "--plugin", "acme", "--scope", "trigger")
    cli.json("keys", "revoke", made["id"])
    for key_id in (made["id"], "0" * 16):
        assert cli.json("keys", "rotate", key_id, exit_code=1)["code"] == "not_found"


def test_a_record_that_fails_verification_is_deleted_and_doctor_names_it_no_more(cli):
    def row():
        return next(each for each in cli.json("doctor", exit_code=1) if each["check"] == "keys")

    key_id = cli.json("keys", "create", "--plugin", "acme", "--scope", "trigger")["id"]
    cli.runtime().client.hset(keyspace.shared("api_key", key=key_id), "scopes", '["operate"]')
    assert (row()["level"], key_id in row()["found"], "relay keys revoke" in row()["advice"]) == ("problem", True, True)
    refused = cli.json("keys", "rotate", key_id, exit_code=1)
    assert (refused["code"], f"relay keys revoke {key_id}" in refused["message"]) == ("not_found", True)
    assert cli.json("keys", "revoke", key_id) == {"id": key_id, "removed": True}
    assert row()["level"] == "ok"
    assert cli.json("keys", "revoke", key_id, exit_code=1)["code"] == "not_found"


def test_doctor_does_not_ask_to_replace_a_key_that_has_a_working_successor(cli):
    def row():
        return next(each for each in cli.json("doctor", exit_code=1) if each["check"] == "keys")

    scope = ("--plugin", "acme", "--scope", "trigger")
    old = cli.json("keys", "create", *scope, "--name", "shop")["id"]
    new = cli.json("keys", "rotate", old)["id"]
    assert (row()["level"], row()["found"]) == ("ok", "2 live")
    cli.json("keys", "create", *scope, "--name", "another")
    cli.json("keys", "revoke", new)
    assert (row()["level"], old in row()["found"]) == ("problem", True)
    cli.json("keys", "rotate", old)
    ending = cli.json("keys", "create", *scope, "--name", "shop", "--expires", "3d")["id"]
    assert (row()["level"], ending in row()["found"], old in row()["found"]) == ("problem", True, False)


def test_revoking_an_unknown_key_fails(cli):
    assert cli.json("keys", "revoke", "0" * 16, exit_code=1)["code"] == "not_found"


@pytest.mark.parametrize("arguments", MALFORMED)
def test_a_malformed_key_is_wrong_usage(cli, arguments):
    assert cli.run("keys", "create", *arguments).exit_code == 2
    assert cli.json("keys", "list") == []


def test_a_store_that_is_away_is_a_failure_said_in_one_sentence(cli):
    result = cli.run(
        "keys", "list", "--output", "json", environ={**cli.environ, "RELAY_REDIS_URL": "redis://127.0.0.1:1/0"}
    )
    assert result.exit_code == 1
    assert '"code": "unavailable"' in result.stdout
    assert "Traceback" not in result.output


def test_the_settings_that_relay_up_wrote_are_used_when_the_environment_names_no_server(cli, valkey):
    file = cli.directory / "relay.env"
    file.write_text(f"RELAY_REDIS_URL={valkey.tcp_url}\nRELAY_DATA_KEYS={cli.environ['RELAY_DATA_KEYS']}\n")
    file.chmod(0o600)
    assert cli.run("keys", "create", "--plugin", "acme", "--scope", "trigger", environ={}).exit_code == 0
    assert len(cli.json("keys", "list")) == 1


def test_without_any_settings_a_command_fails_and_says_what_to_do(cli):
    result = cli.run("keys", "list", environ={})
    assert result.exit_code == 1
    assert "RELAY_REDIS_URL" in result.stderr


@pytest.mark.parametrize("used", [None, "2026-11-30T23:59:58.123Z"])
@pytest.mark.parametrize("expires", [None, "2027-03-01T00:00:00.000Z"])
@pytest.mark.parametrize("revoked", [False, True])
@pytest.mark.parametrize("origins", [[], ["https://a.example"], ["https://a.example", "https://b.example"]])
def test_a_line_says_what_a_key_may_whether_it_still_does_and_when_it_was_used(origins, revoked, expires, used):
    row = {"id": "k1", "plugin": "acme", "scopes": ["trigger", "operate"], "origins": origins, "last4": "wxyz"}
    row |= {"name": "nightly", "revoked": revoked, "expiresAt": expires, "lastUsedAt": used}
    *others, state, last_used = _line(row)
    assert others == ["k1", "acme", ["trigger", "operate", *(f"from {each}" for each in origins)], "wxyz", "nightly"]
    assert state == (bad("revoked") if revoked else "until 2027-03-01" if expires else "good")
    assert last_used == (used and "11-30 23:59")


def test_a_rotated_key_works_for_a_week_unless_another_overlap_is_given(cli):
    for given, days in (((), 7), (("--overlap", "2d"), 2)):
        old = cli.json("keys", "create", "--plugin", "acme", "--scope", "trigger")
        new = cli.json("keys", "rotate", old["id"], *given)
        made = next(key for key in cli.runtime().api_keys.list() if key.id == new["id"])
        assert read_rfc3339(new["replacedUntil"]) == made.created_at_ms + days * 86_400_000


def test_people_are_told_what_was_done_with_a_key(cli):
    made = cli.run("keys", "create", "--plugin", "acme", "--scope", "trigger")
    assert "Keep it: only its hash is stored." in made.stdout
    assert made.stderr == "Plugin acme is new: it was created.\n"
    key_id = cli.json("keys", "list")[0]["id"]
    assert cli.run("keys", "revoke", key_id).stdout.strip() == f"Key {key_id} of plugin acme is revoked."


@pytest.mark.parametrize(
    "arguments", [("keys", "revoke"), ("keys", "rotate"), ("audit", "list", "--actor")], ids=" ".join
)
def test_an_argument_that_is_not_utf8_gets_an_answer(cli, arguments):
    result = cli.run(*arguments, "\udcff")
    assert isinstance(result.exception, SystemExit | None)
    assert result.exit_code == (0 if "audit" in arguments else 1)
