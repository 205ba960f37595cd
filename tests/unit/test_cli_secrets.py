"""``relay secrets``: one value for many webhooks, set, listed, used and removed; no command shows it."""

from __future__ import annotations

import io
import json
import os
import pty
from contextlib import suppress
from types import SimpleNamespace

import pytest
from click import UsageError

from relay.audit.entry import Act, entry_from
from relay.cli.parameters import read_secret, read_source
from relay.cli.secrets import _row
from relay.errors import BadParameter
from relay.store.registry.secrets import SecretSetting
from relay.store.trail.trail import trails
from relay.text.ids import SECRET_NAME_RULE
from relay.vault import secret_owner
from tests.signing_keys import key_pair
from tests.unit.cli import old_ring_text
from tests.unit.forked_command import start_command

FIRST, SECOND = "planted-first-value", "planted-second-value"


def hook(webhook_id="hook", **changes):
    return {
        "id": webhook_id,
        "url": f"https://{webhook_id}.vendor.com/x",
        "method": "POST",
        "headers": {"Authorization": "Bearer ${secret:VENDOR_KEY}"},
        **changes,
    }


def put(cli, text=FIRST, name="VENDOR_KEY", plugin="shop", **more):
    return cli.json("secrets", "set", name, "--plugin", plugin, text=text, **more)


def of(cli, *arguments, **more):
    return cli.json(*arguments, "--plugin", "shop", **more)


def filled(cli, webhook_id="hook", revision=1):
    registry = cli.runtime().registry
    return registry.fill("shop", registry.open_target("shop", webhook_id, revision))


def test_a_value_comes_from_standard_input_or_a_file_and_loses_its_last_line_break(cli, tmp_path):
    assert put(cli, FIRST + "\n") == {"plugin": "shop", "name": "VENDOR_KEY", "change": "created", "webhooks": []}
    (tmp_path / "value").write_text("line one\nline two\r\n")
    assert of(cli, "secrets", "set", "other", "--file", str(tmp_path / "value"))["change"] == "created"
    values = cli.runtime().registry.secrets.values("shop", ["VENDOR_KEY", "other"])
    assert [each.value for each in values] == [FIRST, "line one\nline two"]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        *((FIRST, FIRST), (f"{FIRST}\n", FIRST), (f"{FIRST}\r\n", FIRST), (f"{FIRST}\n\n", f"{FIRST}\n")),
        *((f"{FIRST}\n\r\n", f"{FIRST}\n"), (f" {FIRST} \n", f" {FIRST} "), (f"\n{FIRST}\t", f"\n{FIRST}\t")),
    ],
)
def test_a_value_loses_one_line_break_at_its_end_and_nothing_else(given, kept):
    assert read_secret("Value", io.BytesIO(given.encode())) == kept


def test_input_is_taken_up_to_its_limit(monkeypatch):
    monkeypatch.setattr("relay.cli.parameters.MAX_INPUT_BYTES", 10)
    assert read_source(io.BytesIO(b"x" * 10).read) == b"x" * 10
    with pytest.raises(UsageError, match="more than 10 bytes"):
        read_source(io.BytesIO(b"x" * 11).read)


def test_references_to_the_environment_and_to_files_are_looked_up_when_a_webhook_is_applied(cli, tmp_path, monkeypatch):
    monkeypatch.setenv("VENDOR_TOKEN", FIRST)
    (tmp_path / "key").write_text(f"{SECOND}\n")
    headers = {"Authorization": "Bearer ${env:VENDOR_TOKEN}", "X-Key": f"${{file:{tmp_path / 'key'}}}"}
    cli.apply(hook(headers=headers), plugin="shop")
    assert filled(cli).headers == {"Authorization": f"Bearer {FIRST}", "X-Key": SECOND}
    assert of(cli, "webhooks", "show", "hook")["secrets"] == []


def type_value(cli, typed):
    """Set the secret KEY on a terminal; return the command's exit status and what the terminal shows."""
    master, slave = pty.openpty()
    arguments = ["--data-dir", str(cli.directory), "secrets", "set", "KEY", "--plugin", "shop"]
    process = start_command(arguments, {**os.environ, **cli.environ, "TERM": "dumb"}, [os.ttyname(slave)] * 3)
    shown = b""
    for prompt in (b"Value of KEY: ", b"Repeat for confirmation: "):
        while not shown.endswith(prompt):  # what is typed before a prompt is dropped
            shown += os.read(master, 65_536)
        os.write(master, typed + b"\n")
    process.join()
    os.close(slave)
    with suppress(OSError):  # which is how a terminal without programs says that this was all
        while True:
            shown += os.read(master, 65_536)
    os.close(master)
    return process.exitcode, shown


def test_a_value_is_asked_for_on_a_terminal_without_showing_it(cli):
    exit_code, shown = type_value(cli, FIRST.encode())
    assert exit_code == 0
    assert FIRST.encode() not in shown
    assert cli.runtime().registry.secrets.values("shop", ["KEY"])[0].value == FIRST


def test_a_value_that_is_typed_is_checked_like_any_other(cli):
    exit_code, shown = type_value(cli, b"a\0b")
    assert (exit_code, b"no NUL among them" in shown) == (2, True)
    assert cli.runtime().registry.secrets.names("shop") == []


@pytest.mark.parametrize("typed", ["a\0b", "x" * (64 * 1024 + 1), "\u00e4" * (32 * 1024 + 1), "a\udcffb"])
def test_a_typed_value_that_can_be_no_secret_is_refused(monkeypatch, typed):
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("click.prompt", lambda *_, **__: typed)
    with pytest.raises(BadParameter):
        read_secret("Value")


def test_a_value_is_never_taken_from_an_argument(cli):
    result = cli.run("secrets", "set", "KEY", FIRST, "--plugin", "shop")
    assert result.exit_code == 2
    assert cli.runtime().registry.secrets.names("shop") == []


@pytest.mark.parametrize("text", ["", "\n", b"\xff\xfe", "a\0b", "x" * (64 * 1024 + 1)])
def test_a_value_that_can_be_no_secret_is_refused(cli, text):
    assert put(cli, text, exit_code=2)["code"] == "bad_parameter"
    assert cli.runtime().registry.secrets.names("shop") == []


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a/b", "-a", ".a", "x" * 65, "a}b", "ä"])
def test_a_name_that_can_be_no_secret_s_is_refused(cli, name):
    result = cli.run("secrets", "set", "--plugin", "shop", "--", name, text=FIRST)
    assert result.exit_code == 2
    text = json.dumps(hook(headers={"X-Key": f"${{secret:{name}}}"}))
    refused = of(cli, "webhooks", "apply", "-", text=text, exit_code=2)
    assert [fault["pointer"] for fault in refused["faults"]] == ["/headers/X-Key"]


def test_many_webhooks_refer_to_one_secret_and_none_shows_it(cli):
    put(cli)
    webhooks = [
        hook("one"),
        hook("two", headers={}, auth={"type": "basic", "username": "u", "password": "${secret:VENDOR_KEY}"}),
        hook("three", headers={}, url="https://three.vendor.com/x?v=1&key=${secret:VENDOR_KEY}"),
        hook("four", headers={}, fixedData={"keys": ["${secret:VENDOR_KEY}", "planted-own"]}),
    ]
    cli.apply(*webhooks, plugin="shop")
    assert filled(cli, "one").headers["Authorization"] == f"Bearer {FIRST}"
    assert filled(cli, "two").credentials.authorization.password == FIRST
    assert filled(cli, "three").endpoint.query == f"v=1&key={FIRST}"
    assert filled(cli, "four").fixed_data == {"keys": [FIRST, "planted-own"]}
    shown = ""
    for webhook in ("one", "two", "three", "four"):
        assert of(cli, "webhooks", "show", webhook)["secrets"] == ["VENDOR_KEY"]
        assert of(cli, "explain", webhook)["secrets"] == ["VENDOR_KEY"]
        for command in (("webhooks", "show"), ("explain",), ("webhooks", "history"), ("webhooks", "diff")):
            shown += cli.run(*command, webhook, "--plugin", "shop").output
    (row,) = of(cli, "secrets", "list")
    assert row["webhooks"] == ["four", "one", "three", "two"]
    shown += cli.run("secrets", "list", "--plugin", "shop").output
    assert "VENDOR_KEY" in shown
    assert "planted" not in shown
    assert "\0" not in shown


def test_a_secret_that_is_set_anew_makes_no_revision_and_is_in_the_history_and_in_the_audit_trail(cli):
    put(cli)
    cli.apply(hook(), plugin="shop")
    assert put(cli, SECOND) == {"plugin": "shop", "name": "VENDOR_KEY", "change": "changed", "webhooks": ["hook"]}
    assert filled(cli).headers["Authorization"] == f"Bearer {SECOND}"
    assert of(cli, "webhooks", "apply", "-", text=json.dumps(hook()))["webhooks"][0]["change"] == "unchanged"
    newest, first = of(cli, "webhooks", "history", "hook")
    assert (first["revision"], first["current"]) == (1, True)
    assert (newest["revision"], newest["changed"]) == (None, ["secrets.VENDOR_KEY"])
    assert newest["by"]
    assert newest["at"] >= first["at"]
    assert cli.run("webhooks", "history", "hook", "--plugin", "shop").exit_code == 0
    runtime = cli.runtime()
    entries = [entry_from(raw) for each in trails(runtime.client, runtime.keyspace) for _, raw in each.after(0)]
    sets = [(each.plugin, each.subject, each.outcome) for each in entries if each.act == Act.SECRET_SET]
    assert sets == [("shop", "VENDOR_KEY", "created"), ("shop", "VENDOR_KEY", "changed")]
    assert all(each.who.startswith("@") for each in entries)


def test_history_shows_only_settings_of_secrets_that_the_revision_of_that_time_referred_to(cli):
    put(cli)
    cli.apply(hook(headers={}), plugin="shop")
    put(cli, SECOND)
    cli.apply(hook(), plugin="shop")
    put(cli, FIRST)
    cli.apply(hook(headers={"X-Key": "literal-value"}), plugin="shop")
    put(cli, SECOND)
    assert [(row["revision"], row["changed"]) for row in of(cli, "webhooks", "history", "hook")] == [
        (3, ["headers.Authorization", "headers.X-Key", "secrets"]),
        (None, ["secrets.VENDOR_KEY"]),
        (2, ["headers.Authorization", "secrets"]),
        (1, []),
    ]


def test_every_missing_secret_is_a_fault_of_the_document_that_says_what_to_do(cli):
    text = json.dumps([hook("one"), hook("two", headers={"X-A": "${secret:A}", "X-B": "${secret:B}"})])
    refused = of(cli, "webhooks", "apply", "-", text=text, exit_code=2)
    assert [fault["pointer"] for fault in refused["faults"]] == [
        "/0/headers/Authorization",
        "/1/headers/X-A",
        "/1/headers/X-B",
    ]
    assert "`relay secrets set A --plugin shop`" in refused["faults"][1]["message"]


def test_a_reference_to_what_can_be_no_secret_s_name_says_what_a_name_is(cli):
    text = json.dumps([hook("one", headers={"X-A": "${secret:-A}"})])
    refused = of(cli, "webhooks", "apply", "-", text=text, exit_code=2)
    assert [fault["pointer"] for fault in refused["faults"]] == ["/0/headers/X-A"]
    assert SECRET_NAME_RULE in refused["faults"][0]["message"]


def test_a_secret_in_use_is_not_removed_and_its_users_are_named(cli):
    put(cli)
    cli.apply(hook("one"), hook("two"), plugin="shop")
    refused = of(cli, "secrets", "remove", "VENDOR_KEY", exit_code=1)
    assert refused["code"] == "conflict"
    assert "`one`, `two`" in refused["message"]
    cli.json("webhooks", "remove", "one", "--plugin", "shop")
    cli.apply(hook("two", headers={}), plugin="shop")
    assert of(cli, "secrets", "remove", "VENDOR_KEY") == {"plugin": "shop", "name": "VENDOR_KEY", "removed": True}
    assert of(cli, "secrets", "list") == []
    again = of(cli, "secrets", "remove", "VENDOR_KEY", exit_code=1)
    assert again["code"] == "not_found"


def test_rolling_back_to_a_revision_whose_secret_is_gone_is_refused(cli):
    put(cli)
    cli.apply(hook(), plugin="shop")
    cli.apply(hook(headers={}), plugin="shop")
    of(cli, "secrets", "remove", "VENDOR_KEY")
    refused = of(cli, "webhooks", "rollback", "hook", exit_code=2)
    assert "`VENDOR_KEY`" in refused["faults"][0]["message"]
    assert of(cli, "webhooks", "history", "hook")[0]["revision"] == 2


def test_a_value_that_does_not_fit_where_webhooks_use_it_is_refused_with_every_place(cli):
    put(cli)
    other = hook("two", headers={"X-Key": "${secret:VENDOR_KEY}", "X-Other": "${secret:OTHER}"})
    put(cli, name="OTHER")
    cli.apply(hook("one"), other, plugin="shop")
    refused = put(cli, "two\nlines", exit_code=2)
    assert refused["code"] == "bad_parameter"
    assert [fault["pointer"] for fault in refused["errors"]] == ["/one/headers/Authorization", "/two/headers/X-Key"]
    assert "lines" not in json.dumps(refused)
    assert filled(cli, "one").headers["Authorization"] == f"Bearer {FIRST}"


def test_set_secret_of_a_webhook_replaces_a_reference(cli):
    put(cli)
    cli.apply(hook(), plugin="shop")
    of(cli, "webhooks", "set-secret", "hook", "--header", "Authorization", text=SECOND)
    assert filled(cli, revision=2).headers == {"Authorization": SECOND}
    assert of(cli, "webhooks", "show", "hook")["secrets"] == []
    assert of(cli, "secrets", "list")[0]["webhooks"] == []


def test_a_plugin_s_secret_is_no_other_plugin_s(cli):
    put(cli)
    refused = cli.json("webhooks", "apply", "-", "--plugin", "clinic", text=json.dumps(hook()), exit_code=2)
    assert "relay secrets set VENDOR_KEY --plugin clinic" in refused["faults"][0]["message"]
    runtime = cli.runtime()
    keys = runtime.keyspace
    put(cli, SECOND, plugin="clinic")
    runtime.client.set(
        keys.of_plugin("secret", "clinic", secret="VENDOR_KEY"),
        runtime.client.get(keys.of_plugin("secret", "shop", secret="VENDOR_KEY")),
    )
    again = cli.json("secrets", "list", "--plugin", "clinic")
    assert [row["name"] for row in again] == ["VENDOR_KEY"]
    applied = cli.json("webhooks", "apply", "-", "--plugin", "clinic", text=json.dumps(hook()), exit_code=1)
    assert applied["code"] == "vault"


def test_doctor_names_webhooks_whose_secret_does_not_open(cli):
    put(cli)
    cli.apply(hook("one"), hook("two", headers={}), plugin="shop")

    def row():
        return next((each for each in cli.json("doctor", exit_code=1) if each["check"] == "secrets"), None)

    assert row() is None
    runtime = cli.runtime()
    runtime.client.set(runtime.keyspace.of_plugin("secret", "shop", secret="VENDOR_KEY"), b"nothing that was sealed")
    assert (row()["level"], "shop/one" in row()["found"], "shop/two" in row()["found"]) == ("problem", True, False)
    assert put(cli, SECOND)["change"] == "changed"
    assert row() is None


def _other_stamp(cli, key):
    owner = secret_owner("shop", key.rpartition(":")[2])
    cli.runtime().client.set(key, cli.runtime().target_vault.seal(b'["planted", [], "stamp"]', owner))


DAMAGES = {
    "missing": lambda cli, key: cli.runtime().client.delete(key),
    "never sealed": lambda cli, key: cli.runtime().client.set(key, b"nothing that was sealed"),
    "not the one that was set": _other_stamp,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_several_damaged_secrets_of_a_webhook_are_repaired_one_after_another(cli, damage):
    names = ("ONE", "TWO", "THREE")
    for name in names:
        put(cli, name=name)
    cli.apply(hook(headers={f"X-{name}": f"${{secret:{name}}}" for name in names}), plugin="shop")
    for name in names:
        DAMAGES[damage](cli, cli.runtime().keyspace.of_plugin("secret", "shop", secret=name))
    for name in names:
        assert put(cli, SECOND, name=name)["webhooks"] == ["hook"]
    assert set(filled(cli).headers.values()) == {SECOND}
    assert put(cli, "two\nlines", name="ONE", exit_code=2)["code"] == "bad_parameter"


def test_after_the_loss_of_the_target_ring_secrets_are_set_and_webhooks_registered_anew(cli):
    webhook = hook(headers={"X-Key": "${secret:VENDOR_KEY}", "X-Other": "${secret:OTHER}"})
    for name in ("VENDOR_KEY", "OTHER"):
        put(cli, name=name)
    cli.apply(webhook, plugin="shop")
    cli.keys["RELAY_TARGET_KEYS"] = old_ring_text(1)
    for name in ("VENDOR_KEY", "OTHER"):
        assert put(cli, SECOND, name=name)["change"] == "changed"
    assert of(cli, "webhooks", "apply", "-", text=json.dumps(webhook))["webhooks"][0]["revision"] == 2
    assert filled(cli, revision=2).headers == {"X-Key": SECOND, "X-Other": SECOND}


def test_how_a_client_signs_is_shown_and_nothing_of_its_key(cli):
    pair = key_pair("P-384")
    put(cli, json.dumps(pair.jwk | {"kid": "k1"}))
    auth = {
        "type": "oauth2",
        "tokenUrl": "https://login.vendor.com/token",
        "clientId": "client",
        "clientAuth": "private_key_jwt",
        "privateKey": "${secret:VENDOR_KEY}",
        "algorithm": "ES384",
    }
    cli.apply(hook(headers={}, auth=auth), plugin="shop")
    written = {"clientAuth": "private_key_jwt", "algorithm": "ES384"}
    (shown,) = of(cli, "webhooks", "show", "hook")["credentials"]
    assert shown == of(cli, "explain", "hook")["auth"][0]
    assert written.items() <= shown.items()
    for command in (("webhooks", "show"), ("explain",)):
        text = cli.run(*command, "hook", "--plugin", "shop").output
        assert "oauth2 (private_key_jwt, ES384)" in text
        assert not [part for part in pair.jwk.values() if part in text and len(part) > 10]
    put(cli, key_pair("P-256").pem, exit_code=2)
    assert put(cli, key_pair("P-256").pem, exit_code=2)["errors"][0]["pointer"] == "/hook/auth/algorithm"


def test_a_list_says_when_and_by_whom_a_secret_was_set_last():
    settings = [SecretSetting(1_000, "@first"), SecretSetting(2_000, "@second"), SecretSetting(3_000, "@third")]
    for count in range(4):
        row = _row("KEY", settings[:count], ["one"])
        at, by = (f"1970-01-01T00:00:0{count}.000Z", settings[count - 1].by) if count else (None, None)
        assert row == {"name": "KEY", "setAt": at, "by": by, "webhooks": ["one"]}


def test_people_are_told_what_was_done_with_a_secret_and_who_uses_it(cli):
    def said(*arguments, text=None):
        done = cli.run("secrets", *arguments, "--plugin", "shop", text=text)
        return done.stdout.strip(), done.stderr.strip()

    told = said("set", "VENDOR_KEY", text=FIRST)
    assert told == ("Secret VENDOR_KEY of plugin shop: created.", "Plugin shop is new: it was created.")
    cli.apply(hook("one"), hook("two"), plugin="shop")
    assert said("set", "VENDOR_KEY", text=SECOND) == (
        "Secret VENDOR_KEY of plugin shop: changed, used by one, two.",
        "",
    )
    said("set", "OTHER", text=FIRST)
    assert said("remove", "OTHER") == ("Secret OTHER of plugin shop is removed.", "")
