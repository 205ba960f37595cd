"""What the commands show of chains and credentials: the whole plan, and no secret."""

from __future__ import annotations

import base64
import json

import pytest

from tests.unit.cli import SECRET, URL, a_webhook

SIGNING = "whsec_" + base64.b64encode(bytes(range(32))).decode()
PASSWORD = "planted-password"
CLIENT_SECRET = "planted-client-secret"
LOGIN = a_webhook(id="login", hidden=True, signing=[SIGNING])
FIND = {
    "id": "find",
    "url": f"{URL}/found?key=planted-key-value",
    "method": "GET",
    "headers": {"X-Token": None},
    "queryParams": ["id"],
    "hidden": True,
    "auth": {
        "type": "oauth2",
        "tokenUrl": "https://login.example.com/token?tenant=planted-tenant",
        "clientId": "client-0001",
        "clientSecret": CLIENT_SECRET,
        "scope": "read",
    },
}
TELL = {**a_webhook(id="tell", headers={}), "auth": {"type": "basic", "username": "ada", "password": PASSWORD}}
INNER = {"id": "inner", "steps": [{"webhook": "tell", "forEach": "input.data.people", "data": "item"}]}
BOOK = {
    "id": "book",
    "steps": [
        {"webhook": "login", "data": "{user: input.data.user}", "mask": ["steps[0].data.token"]},
        {
            "webhook": "find",
            "when": "input.data.id",
            "onError": "continue",
            "headers": {"X-Token": "steps[0].data.token"},
            "queryParams": {"id": "input.data.id"},
        },
        {"webhook": "inner", "data": "steps[1].data"},
    ],
    "result": "steps[1].data",
    "timeout": 300,
}
SECRETS = [SECRET.split()[1], "planted-key-value", "planted-tenant", PASSWORD, CLIENT_SECRET, SIGNING, SIGNING[6:]]


@pytest.fixture
def booked(cli):
    cli.apply(LOGIN, FIND, TELL, INNER, BOOK)
    return cli


def test_a_chain_is_explained_with_the_request_of_every_step_also_of_chains_in_it(booked):
    plan = booked.json("explain", "book", "--plugin", "acme")
    assert (plan["webhookId"], plan["revision"], plan["timeout"], plan["result"]) == ("book", 1, 300, "steps[1].data")
    login, find, inner = plan["steps"]
    assert (login["webhook"], login["hidden"], login["data"]) == ("login", True, "{user: input.data.user}")
    assert login["request"]["headers"]["Authorization"] == "[redacted]"
    assert login["request"]["headers"]["webhook-signature"] == "[at sending]"
    assert (find["when"], find["onError"], find["headers"]) == (
        "input.data.id",
        "continue",
        {"X-Token": "steps[0].data.token"},
    )
    assert find["request"]["method"] == "GET"
    assert find["request"]["url"] == f"{URL}/found?key=[redacted]"
    assert find["request"]["auth"] == [
        {"type": "oauth2", "tokenUrl": "https://login.example.com/token", "scope": "read", "audience": None}
    ]
    assert inner["chain"]["steps"][0]["forEach"] == "input.data.people"
    assert inner["chain"]["steps"][0]["request"]["auth"] == [{"type": "basic"}]


def test_a_chain_s_plan_is_drawn_for_people(booked):
    shown = booked.run("explain", "book", "--plugin", "acme").output
    lines = [line.strip() for line in shown.splitlines()]
    for line in (
        "0. login (revision 1, hidden)",
        "X-Token <- steps[0].data.token",
        "?id <- input.data.id",
        "data <- {user: input.data.user}",
        "forEach: input.data.people",
        "mask: steps[0].data.token",
        "in error: the chain goes on",
        "result: steps[1].data",
        "auth: oauth2",
    ):
        assert line in lines, shown


@pytest.mark.parametrize("command", [("explain",), ("webhooks", "show")])
@pytest.mark.parametrize("webhook", ["book", "login", "find", "tell", "inner"])
@pytest.mark.parametrize("form", ["json", "table"])
def test_no_secret_is_shown(booked, command, webhook, form):
    result = booked.run(*command, webhook, "--plugin", "acme", "--output", form)
    assert result.exit_code == 0
    assert not [secret for secret in SECRETS if secret in result.output]
    assert base64.b64encode(f"ada:{PASSWORD}".encode()).decode() not in result.output


def test_a_chain_that_is_explained_for_a_trigger_that_does_not_fit_fails(booked):
    problem = booked.json("explain", "book", "--plugin", "acme", "--query", "a=1", exit_code=1)
    assert problem["code"] == "request_rejected"


def test_a_call_is_explained_with_places_for_what_is_made_as_it_leaves(booked):
    headers = booked.json("explain", "login", "--plugin", "acme")["headers"]
    assert headers["webhook-timestamp"] == headers["webhook-signature"] == "[at sending]"
    found = booked.json("explain", "find", "--plugin", "acme")
    assert found["headers"]["Authorization"] == "[redacted]"
    assert found["auth"][0]["type"] == "oauth2"


def test_a_chain_is_shown_with_its_steps_as_they_were_written(booked):
    shown = booked.json("webhooks", "show", "book", "--plugin", "acme")
    assert shown["chain"] is True
    assert (shown["url"], shown["method"]) == (None, None)
    assert shown["steps"][0] == {
        "webhook": "login",
        "data": "{user: input.data.user}",
        "onError": "stop",
        "mask": ["steps[0].data.token"],
    }
    assert shown["result"] == "steps[1].data"
    table = booked.run("webhooks", "show", "book", "--plugin", "acme").output
    lines = [" ".join(line.split()) for line in table.splitlines()]
    wanted = ["steps 0. login", "data <- {user: input.data.user}", "mask: steps[0].data.token", "1. find"]
    wanted += ["X-Token <- steps[0].data.token", "2. inner", "data <- steps[1].data"]
    assert [line for line in lines if line in wanted] == wanted
    assert '"webhook"' not in table


def test_a_webhook_is_shown_with_its_kinds_of_credentials_and_how_many_secrets_sign(booked):
    shown = booked.json("webhooks", "show", "login", "--plugin", "acme")
    assert (shown["auth"], shown["signingSecrets"], shown["steps"]) == ([], 1, None)
    assert booked.json("webhooks", "show", "tell", "--plugin", "acme")["auth"] == ["basic"]


def test_a_list_of_webhooks_has_chains_without_a_method(booked):
    rows = {row["id"]: row for row in booked.json("webhooks", "list", "--plugin", "acme")}
    assert (rows["book"]["chain"], rows["book"]["method"]) == (True, None)
    assert (rows["login"]["chain"], rows["login"]["method"]) == (False, "POST")
    assert booked.run("webhooks", "list", "--plugin", "acme").exit_code == 0


def test_a_webhook_that_a_chain_uses_is_not_removed(booked):
    problem = booked.json("webhooks", "remove", "login", "--plugin", "acme", exit_code=1)
    assert problem["code"] == "conflict"
    assert "`book`" in problem["message"]


def test_a_chain_of_unknown_webhooks_is_a_bad_document(cli):
    result = cli.run("webhooks", "apply", "-", "--plugin", "acme", text=json.dumps(BOOK))
    assert result.exit_code == 2
    assert "/steps/0/webhook" in result.output
