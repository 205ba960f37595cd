"""`--subject`: whom a trigger concerns, in the commands that find and forget it."""

from __future__ import annotations

import pytest

from relay.audit.entry import Act
from tests.unit.cli import a_webhook
from tests.unit.test_cli_acts import trail
from tests.unit.test_cli_invocations import settle

ANN = "patient Ann"


@pytest.fixture
def story(cli):
    """Three invocations, oldest first: of Ann, of Bob, of Ann; the first two have ended."""
    cli.apply(a_webhook())
    made = [
        cli.json("trigger", "ping", "--plugin", "acme", "--async", "--subject", subject)["referenceId"]
        for subject in (ANN, "Bob", ANN)
    ]
    for ref in made[:2]:
        settle(cli, ref, status=503)
    return cli, made


def forget(cli, *arguments, **how):
    return cli.json("invocations", "forget", "--subject", ANN, "--plugin", "acme", *arguments, **how)


def test_commands_find_what_concerns_a_subject(story):
    cli, made = story
    of_ann = ("--plugin", "acme", "--subject", ANN)
    assert [row["referenceId"] for row in cli.json("invocations", "list", *of_ann)] == [made[2], made[0]]
    exported = cli.run("invocations", "export", *of_ann).stdout
    assert [made[0] in exported, made[1] in exported, made[2] in exported] == [True, False, True]
    assert cli.json("replay", "plan", *of_ann)["matched"] == 1
    assert cli.json("replay", "start", *of_ann)["matched"] == 1
    assert cli.json("invocations", "list", "--plugin", "acme", "--subject", "nobody") == []
    assert ANN not in exported


def test_a_plugin_that_has_nothing_but_records_is_asked_to_forget_too(cli):
    run = ("trigger", "ping", "--plugin", "records", "--async", "--subject", ANN)
    assert cli.json(*run, exit_code=1)["code"] == "webhook_not_registered"
    assert not cli.runtime().registry.has_plugin("records")
    of_ann = ("invocations", "forget", "--subject", ANN, "--plugin")
    assert cli.json(*of_ann, "records") == {"plugin": "records", "forgotten": 0, "unfinished": 0}
    assert cli.json(*of_ann, "recordz", exit_code=2)["code"] == "bad_parameter"


def test_forget_says_how_many_and_how_many_are_unfinished(story):
    cli, made = story
    assert forget(cli) == {"plugin": "acme", "forgotten": 1, "unfinished": 1}
    store = cli.runtime().store
    assert [store.payload_of(ref) is None for ref in made] == [True, False, False]
    said = cli.run("invocations", "forget", "--subject", ANN, "--plugin", "acme")
    assert said.exit_code == 0
    assert "unfinished" in said.stdout
    assert "workers" in said.stderr
    assert ANN not in said.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "either REF or --subject"),
        (("--subject", ""), "1 to 256"),
        (("--subject", "a\nb"), "1 to 256"),
        (("--subject", "x" * 257), "1 to 256"),
        (("--subject", ANN), "RELAY_PLUGIN"),
        (("01890000-0000-7000-8000-000000000000", "--subject", ANN), "either REF or --subject"),
    ],
)
def test_a_wrong_use_says_what_is_wrong(cli, arguments, said):
    result = cli.run("invocations", "forget", *arguments)
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.split())


def test_a_plugin_that_is_not_there_is_told_and_gets_no_key(story):
    cli, _ = story
    assert (
        cli.json("invocations", "forget", "--subject", ANN, "--plugin", "acmee", exit_code=2)["code"] == "bad_parameter"
    )
    cli.json("invocations", "list", "--subject", ANN, "--plugin", "acmee", exit_code=2)
    assert cli.runtime().client.keys("*acmee*") == []


def test_the_audit_trail_names_the_act_and_no_subject(story):
    cli, _ = story

    class Site:
        pass

    Site.cli = cli
    forget(cli)
    cli.run("invocations", "forget", "--subject", ANN, "--plugin", "acmee")
    entries = [entry for entry in trail(Site) if entry.act == Act.FORGET_SUBJECT]
    assert [(entry.plugin, entry.subject, entry.outcome) for entry in entries] == [
        ("acme", "", "started"),
        ("acmee", "", "bad_parameter"),
    ]
    assert all(entry.who.startswith("@") for entry in entries)


def test_rotating_the_data_keys_loses_no_subject(cli, monkeypatch):
    monkeypatch.setattr("relay.cli.vault.SETTLED_S", 0.0)
    cli.use_ring_files()
    cli.apply(a_webhook())
    ref = cli.json("trigger", "ping", "--plugin", "acme", "--async", "--subject", ANN)["referenceId"]
    assert cli.run("vault", "rotate").exit_code == 0
    assert len(cli.json("vault", "status")) == 2  # a key for each ring: the old ones are gone
    found = cli.json("invocations", "list", "--plugin", "acme", "--subject", ANN)
    assert [row["referenceId"] for row in found] == [ref]
