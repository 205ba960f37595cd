"""Revisions of a webhook at the command line: history, differences, rollback, and replacing one secret."""

from __future__ import annotations

import json

import pytest

from relay.store.registry.webhooks import Registry

SECRET, OTHER = "sk-live-first-secret", "sk-live-other-secret"


def document(**changes):
    webhook = {
        "id": "hook",
        "url": "https://hooks.vendor.com/x",
        "method": "POST",
        "headers": {"Authorization": SECRET, "X-Note": None},
        **changes,
    }
    return json.dumps(webhook)


@pytest.fixture
def two(cli):
    """A webhook with two revisions."""
    for text in (document(), document(url="https://hooks.vendor.com/y", timeout=5)):
        cli.json("webhooks", "apply", "-", "--plugin", "shop", text=text)
    return cli


def of(cli, *arguments, **more):
    return cli.json("webhooks", *arguments, "--plugin", "shop", **more)


def test_the_history_names_every_revision_and_what_changed(two):
    rows = of(two, "history", "hook")
    assert [(row["revision"], row["current"], row["changed"]) for row in rows] == [
        (2, True, ["timeoutMs", "url"]),
        (1, False, []),
    ]


def test_a_difference_shows_both_sides(two):
    found = of(two, "diff", "hook")
    assert (found["from"], found["to"]) == (1, 2)
    assert {"member": "url", "before": "https://hooks.vendor.com/x", "after": "https://hooks.vendor.com/y"} in found[
        "changes"
    ]
    shown = two.run("webhooks", "diff", "hook", "--plugin", "shop").stdout
    assert 0 < shown.index("vendor.com/x") < shown.index("vendor.com/y")


def test_a_secret_is_replaced_without_the_rest_of_the_document_and_never_shown(two):
    assert of(two, "set-secret", "hook", "--header", "authorization", text=OTHER + "\n")["revision"] == 3
    found = of(two, "diff", "hook", "2", "3")
    assert found["changes"] == [{"member": "headers.Authorization", "before": "(hidden)", "after": "changed"}]
    registry = two.runtime().registry
    assert registry.open_target("shop", "hook", 3).headers == {"Authorization": OTHER}
    assert registry.open_target("shop", "hook", 3).endpoint == registry.open_target("shop", "hook", 2).endpoint
    shown = "".join(
        two.run("webhooks", name, "hook", "--plugin", "shop").output for name in ("history", "diff", "show")
    )
    assert SECRET not in shown
    assert OTHER not in shown


@pytest.mark.parametrize("header", ["X-Note", "X-Unknown"])
def test_only_a_pre_filled_header_has_a_secret(two, header):
    refused = of(two, "set-secret", "hook", "--header", header, text=OTHER, exit_code=2)
    assert (refused["code"], refused["message"]) == (
        "bad_parameter",
        f"Webhook `hook` has no pre-filled header `{header}`.",
    )


def test_a_chain_has_no_header_with_a_secret(two):
    of(two, "apply", "-", text=json.dumps({"id": "chain", "steps": [{"webhook": "hook"}]}))
    refused = of(two, "set-secret", "chain", "--header", "Authorization", text=OTHER, exit_code=2)
    assert refused["message"] == "Webhook `chain` has no pre-filled header `Authorization`."


def test_a_slip_in_a_header_s_name_is_asked_about(two):
    refused = of(two, "set-secret", "hook", "--header", "Authorisation", text=OTHER, exit_code=2)
    assert refused["message"].endswith("`Authorisation`; did you mean `Authorization`?")


@pytest.mark.parametrize(
    ("numbers", "said"),
    [((), "Revision 1 is the only one."), (("1",), "Revision 1 is the only one."), (("1", "1"), "Revision 1 is")],
)
def test_where_there_is_one_revision_that_is_said(cli, numbers, said):
    cli.json("webhooks", "apply", "-", "--plugin", "shop", text=document())
    assert said in cli.run("webhooks", "diff", "hook", *numbers, "--plugin", "shop").stdout
    assert of(cli, "diff", "hook", *numbers)["changes"] == []


def test_revisions_that_do_not_differ_are_said_to(two):
    assert (
        "Revisions 2 and 2 do not differ." in two.run("webhooks", "diff", "hook", "2", "2", "--plugin", "shop").stdout
    )


@pytest.mark.parametrize("value", ["", "two\nlines", "  ", "x" * 3000, "\u00e4"])
def test_a_secret_that_is_not_a_valid_header_value_is_refused_and_changes_nothing(two, value):
    refused = of(two, "set-secret", "hook", "--header", "Authorization", text=value, exit_code=2)
    assert refused["errors"][0]["pointer"] == "/headers/Authorization"
    assert of(two, "history", "hook")[0]["revision"] == 2


MEANWHILE = {
    "registered": lambda cli: of(cli, "apply", "-", text=document(url="https://hooks.vendor.com/z")),
    "removed": lambda cli: of(cli, "remove", "hook"),
}


@pytest.mark.parametrize("change", MEANWHILE)
@pytest.mark.parametrize("command", [("set-secret", "--header", "Authorization"), ("rollback",)])
def test_what_somebody_else_registers_or_removes_meanwhile_is_not_undone(two, monkeypatch, command, change):
    target, did = Registry.open_target, []

    def meanwhile(self, *names):
        if not did:
            did.append(MEANWHILE[change](two))
        return target(self, *names)

    monkeypatch.setattr(Registry, "open_target", meanwhile)
    refused = of(two, command[0], "hook", *command[1:], text=OTHER, exit_code=1)
    said = {"registered": "revision 3 is current", "removed": "it is not registered any more"}[change]
    assert refused["code"] == "conflict"
    assert refused["message"].startswith(f"Somebody else has changed webhook `hook` meanwhile: {said}. Try again.")
    row = of(two, "history", "hook")[0]
    assert (row["revision"], row["current"]) == {"registered": (3, True), "removed": (2, False)}[change]


@pytest.mark.parametrize("change", MEANWHILE)
def test_nothing_that_was_read_before_a_secret_is_typed_is_used(two, monkeypatch, change):
    def typing(_prompt):
        MEANWHILE[change](two)
        return OTHER

    monkeypatch.setattr("relay.cli.revisions.read_secret", typing)
    found = of(two, "set-secret", "hook", "--header", "Authorization", exit_code=1 if change == "removed" else 0)
    if change == "removed":
        assert found["code"] == "webhook_not_registered"
    else:
        assert found["revision"] == 4
        assert of(two, "show", "hook")["url"] == "https://hooks.vendor.com/z"


def test_a_rollback_makes_an_older_revision_current_as_a_new_one(two):
    assert of(two, "rollback", "hook") == {"id": "hook", "revision": 3, "change": "changed"}
    assert of(two, "show", "hook")["url"] == "https://hooks.vendor.com/x"
    assert of(two, "rollback", "hook", "2")["revision"] == 4
    assert of(two, "diff", "hook", "2", "4")["changes"] == []


def test_a_removed_webhook_comes_back_by_a_rollback(two):
    of(two, "remove", "hook")
    assert of(two, "rollback", "hook", "2")["change"] == "created"
    assert of(two, "show", "hook")["revision"] == 3


def test_what_is_not_there_is_said(two):
    assert of(two, "history", "nobody", exit_code=1)["code"] == "webhook_not_registered"
    assert of(two, "rollback", "hook", "9", exit_code=1)["code"] == "not_found"
    two.json("webhooks", "apply", "-", "--plugin", "shop", text=document(id="single"))
    assert of(two, "rollback", "single", exit_code=1)["message"] == "There is no revision before this one."


@pytest.fixture
def three(two):
    """A webhook with three revisions."""
    two.json("webhooks", "apply", "-", "--plugin", "shop", text=document(description="The third."))
    return two


@pytest.mark.parametrize(
    ("numbers", "compared"),
    [((), (2, 3)), (("1",), (1, 3)), (("2",), (2, 3)), (("3",), (3, 3)), (("1", "2"), (1, 2)), (("3", "1"), (3, 1))],
)
def test_the_revisions_that_are_named_are_compared_and_otherwise_the_last_with_the_one_before(three, numbers, compared):
    members = {1: {}, 2: {"url", "timeoutMs"}, 3: {"description"}}
    found = of(three, "diff", "hook", *numbers)
    assert (found["from"], found["to"]) == compared
    first, last = compared
    assert {each["member"] for each in found["changes"]} == (
        set() if first == last else {*members[first], *members[last]}
    )
    shown = three.run("webhooks", "diff", "hook", *numbers, "--plugin", "shop").stdout.splitlines()[0]
    if first != last:
        assert shown.split() == ["member", "revision", str(first), "revision", str(last)]


@pytest.mark.parametrize("command", [("diff", "hook", "9"), ("diff", "hook", "1", "9"), ("rollback", "hook", "9")])
def test_a_revision_that_there_never_was_is_said_with_the_last_one(three, command):
    refused = of(three, *command, exit_code=1)
    assert (refused["code"], refused["message"]) == (
        "not_found",
        "Webhook `hook` has no revision 9: its last one is 3.",
    )


def test_a_rollback_without_a_number_goes_back_by_one_whatever_is_current(three):
    assert of(three, "rollback", "hook")["revision"] == 4
    assert of(three, "diff", "hook", "2", "4")["changes"] == []
    of(three, "remove", "hook")
    said = three.run("webhooks", "rollback", "hook", "--plugin", "shop").stdout.strip()
    assert said == "Webhook hook of plugin shop: revision 5, created."
    assert of(three, "diff", "hook", "3", "5")["changes"] == []
    assert of(three, "rollback", "hook", "5") == {"id": "hook", "revision": 5, "change": "unchanged"}


def test_a_history_says_who_made_each_revision_and_which_one_is_current(three):
    rows = of(three, "history", "hook")
    assert [(row["revision"], row["current"]) for row in rows] == [(3, True), (2, False), (1, False)]
    assert all(row["by"] and row["by"] == rows[0]["by"] for row in rows)
    assert [row["at"] for row in rows] == sorted((row["at"] for row in rows), reverse=True)
    of(three, "remove", "hook")
    assert not any(row["current"] for row in of(three, "history", "hook"))
    head, *lines = three.run("webhooks", "history", "hook", "--plugin", "shop").stdout.splitlines()
    assert head.split() == ["revision", "at", "(UTC)", "by", "current", "changed"]
    assert [line.split()[0] for line in lines if line.strip()[:1].isdigit()] == ["3", "2", "1"]
