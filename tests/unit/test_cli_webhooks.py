import json

import pytest

from tests.unit.cli import SECRET, URL, a_webhook

# The two examples of the product's documentation, as printed there, the first with the comma that follows it.
PRINTED = """{
id: "get-randomapi"
url: "https://coviu.com/api/v1/randomApi",
method: "GET",
headers: {},
queryParams: ["pageNum"]
},
{
id: "send-jpeg",
url: "https://postman-echo.com/post",
headers: {
"Content-Type": "image/jpeg"
},
payload_encoding: "base64"
}
"""


def test_applied_webhooks_are_reported_one_by_one(cli):
    assert cli.apply(a_webhook()) == {
        "plugin": "acme",
        "webhooks": [{"id": "ping", "revision": 1, "change": "created"}],
        "warnings": [],
    }
    again = cli.apply(a_webhook(), a_webhook(id="pong"))
    assert [each["change"] for each in again["webhooks"]] == ["unchanged", "created"]


def test_the_printed_examples_register_from_a_file(cli, tmp_path):
    file = tmp_path / "examples.js"
    file.write_text(PRINTED)
    applied = cli.json("webhooks", "apply", str(file), "--plugin", "acme")
    assert [each["id"] for each in applied["webhooks"]] == ["get-randomapi", "send-jpeg"]


def test_a_config_may_name_its_plugin_itself(cli):
    config = json.dumps({"plugin": "acme", "webhooks": [a_webhook()]})
    assert cli.json("webhooks", "apply", "-", text=config)["plugin"] == "acme"
    assert cli.run("webhooks", "apply", "-", "--plugin", "other", text=config).exit_code == 2
    assert cli.run("webhooks", "apply", "-", text=json.dumps(a_webhook())).exit_code == 2


def test_a_bad_document_names_every_fault_and_stores_nothing(cli):
    text = json.dumps([a_webhook(id="good"), a_webhook(id="Bad"), a_webhook(url="http://a.example.com/")], indent=1)
    result = cli.run("webhooks", "apply", "-", "--plugin", "acme", "--output", "json", text=text)
    assert result.exit_code == 2
    told = json.loads(result.stdout)
    assert (told["code"], told["message"]) == ("bad_document", "The registration document is not valid.")
    faults = told["faults"]
    assert {fault["pointer"] for fault in faults} == {"/1/id", "/2/url"}
    assert all(list(fault) == ["pointer", "message", "line", "column"] for fault in faults)
    assert all(fault["line"] and fault["column"] for fault in faults)
    assert cli.runtime().registry.plugins() == []


@pytest.mark.parametrize("indent", [None, 1])
def test_faults_are_in_the_order_of_the_document(cli, indent):
    webhooks = [
        a_webhook(id="good", zeal=1, axis=2, hidden="yes"),
        a_webhook(id="Bad", timeout="5", queryParams=["a", "a"]),
        {"id": "chain", "steps": [], "url": URL, "method": "GET", "rate": "1/s", "retry": 3, "auth": {}},
    ]
    text = json.dumps(webhooks, indent=indent)
    result = cli.run("webhooks", "apply", "-", "--plugin", "acme", "--output", "json", text=text)
    places = [(fault["line"], fault["column"]) for fault in json.loads(result.stdout)["faults"]]
    assert len(places) >= 11
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("arguments", "named", "plugin"),
    [
        ((), None, "acme"),
        (("--plugin", "shop"), None, "shop"),
        ((), "care", "care"),
        (("--plugin", "care"), "care", "care"),
    ],
)
def test_the_plugin_of_the_environment_is_meant_where_nothing_else_names_one(cli, arguments, named, plugin):
    text = json.dumps(a_webhook() if named is None else {"plugin": named, "webhooks": [a_webhook()]})
    environ = {**cli.environ, "RELAY_PLUGIN": "acme"}
    assert cli.run("webhooks", "apply", "-", *arguments, text=text, environ=environ).exit_code == 0
    assert cli.runtime().registry.plugins() == [plugin]


def test_faults_are_told_to_people_on_standard_error_with_line_and_column(cli):
    result = cli.run("webhooks", "apply", "-", "--plugin", "acme", text='{\n"id": "Bad", "url": 5, "method": "GET"}')
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "/id (line 2, column" in result.stderr
    assert "/url (line 2, column" in result.stderr


@pytest.mark.parametrize("text", [b"", b"\xff\xfe{", b"[]", b"null", b"{", b"[" * 2000])
def test_an_invalid_document_is_refused_with_exit_status_2(cli, text):
    assert cli.run("webhooks", "apply", "-", "--plugin", "acme", text=text).exit_code == 2


def test_a_file_that_is_not_there_is_wrong_usage(cli):
    assert cli.run("webhooks", "apply", "nowhere.json", "--plugin", "acme").exit_code == 2


def test_a_dry_run_stores_nothing(cli):
    text = json.dumps(a_webhook())
    applied = cli.json("webhooks", "apply", "-", "--plugin", "acme", "--dry-run", text=text)
    assert applied["webhooks"] == [{"id": "ping", "revision": 1, "change": "created"}]
    assert cli.json("webhooks", "list", "--plugin", "acme", exit_code=2)["message"] == "There is no plugin `acme`."


def test_a_secret_too_short_to_be_masked_is_a_warning(cli):
    warnings = cli.apply(a_webhook(headers={"X-Key": "short"}))["warnings"]
    assert len(warnings) == 1
    assert "short" not in warnings[0].replace("shorter", "")


def test_a_list_shows_what_may_be_sent_and_no_address(cli):
    cli.apply(a_webhook(description="\x1b[2J hello"))
    (row,) = cli.json("webhooks", "list", "--plugin", "acme")
    assert (row["id"], row["method"], row["headers"], row["queryParams"]) == ("ping", "POST", ["X-Note"], ["page"])
    for form in ("json", "table"):
        shown = cli.run("webhooks", "list", "--plugin", "acme", "--output", form).output
        assert "planted" not in shown
        assert "\x1b" not in shown


def test_show_shows_the_address_and_names_of_headers_but_no_value(cli):
    cli.apply(a_webhook())
    shown = cli.json("webhooks", "show", "ping", "--plugin", "acme")
    assert shown["url"] == URL
    assert shown["headers"] == {"Authorization": "pre-filled", "X-Note": "fillable"}
    for form in ("json", "table"):
        output = cli.run("webhooks", "show", "ping", "--plugin", "acme", "--output", form).output
        assert "planted.example.com" in output
        assert SECRET.split()[1] not in output


def test_a_secret_that_is_fixed_in_the_query_is_not_shown(cli):
    cli.apply(a_webhook(url=f"{URL}?v=2&key=planted-key-value&planted-bare-token"))
    shown = cli.json("webhooks", "show", "ping", "--plugin", "acme")
    assert shown["url"] == f"{URL}?v=2&key=[redacted]&[redacted]"


def test_a_removed_webhook_is_gone_and_cannot_be_removed_again(cli):
    cli.apply(a_webhook())
    assert cli.json("webhooks", "remove", "ping", "--plugin", "acme") == {
        "plugin": "acme",
        "id": "ping",
        "removed": True,
    }
    for verb in ("remove", "show"):
        assert cli.json("webhooks", verb, "ping", "--plugin", "acme", exit_code=1)["code"] == "webhook_not_registered"


def test_the_webhooks_of_another_plugin_are_not_seen(cli):
    cli.apply(a_webhook())
    cli.apply(a_webhook(id="pong"), plugin="other")
    assert [row["id"] for row in cli.json("webhooks", "list", "--plugin", "other")] == ["pong"]
    assert cli.run("webhooks", "show", "ping", "--plugin", "other").exit_code == 1
    assert cli.run("webhooks", "remove", "ping", "--plugin", "other").exit_code == 1
    assert cli.json("webhooks", "show", "ping", "--plugin", "acme")


@pytest.mark.parametrize(
    "arguments",
    [
        ("list",),
        ("show", "ping"),
        ("remove", "ping"),
        ("show", "Ping", "--plugin", "acme"),
        ("list", "--plugin", "../x"),
        ("freeze", "ping", "--plugin", "acme"),
    ],
)
def test_wrong_usage_exits_with_two(cli, arguments):
    assert cli.run("webhooks", *arguments).exit_code == 2


def test_without_the_target_keys_nothing_is_registered_and_it_says_why(cli):
    environ = cli.environ | {"RELAY_TARGET_KEYS": None}
    result = cli.run("webhooks", "apply", "-", "--plugin", "acme", text=json.dumps(a_webhook()), environ=environ)
    assert result.exit_code == 1
    assert "RELAY_TARGET_KEYS" in result.stderr


def test_a_plugin_that_looks_like_an_existing_one_is_made_only_where_it_is_meant(cli):
    cli.apply(a_webhook(), plugin="scheduling")
    text = json.dumps(a_webhook())
    for command in (("webhooks", "apply", "-"), ("keys", "create", "--scope", "trigger")):
        refused = cli.json(*command, "--plugin", "schedulnig", text=text, exit_code=2)
        assert refused["code"] == "bad_parameter"
        assert "`scheduling` is similar" in refused["message"]
        assert "--create-plugin" in refused["message"]
    assert cli.runtime().registry.plugins() == ["scheduling"]
    made = cli.run("webhooks", "apply", "-", "--plugin", "schedulnig", "--create-plugin", text=text)
    assert (made.exit_code, "Plugin schedulnig is new: it was created." in made.stderr) == (0, True)


def test_any_other_new_plugin_is_made_and_that_is_said_once(cli):
    cli.apply(a_webhook())
    text = json.dumps(a_webhook())
    dry = cli.run("webhooks", "apply", "-", "--plugin", "booking", "--dry-run", text=text)
    assert "Plugin booking is new: it would be created." in dry.stderr
    for said in (True, False):
        result = cli.run("webhooks", "apply", "-", "--plugin", "booking", text=text)
        assert ("Plugin booking is new" in result.stderr) is said
    assert cli.runtime().registry.plugins() == ["acme", "booking"]


@pytest.mark.parametrize(
    "command",
    [
        ("webhooks", "show"),
        ("webhooks", "remove", "--yes"),
        ("webhooks", "pause"),
        ("webhooks", "history"),
        ("explain",),
        ("trigger",),
    ],
)
def test_a_mistyped_webhook_or_plugin_is_told_with_the_name_that_was_meant(cli, command):
    cli.apply(a_webhook(id="send-invoice"))
    problem = cli.json(*command, "send-invioce", "--plugin", "acme", exit_code=1)
    assert problem["code"] == "webhook_not_registered"
    assert problem["message"] == "Plugin `acme` has no webhook `send-invioce`. Did you mean `send-invoice`?"
    problem = cli.json(*command, "send-invoice", "--plugin", "acmee", exit_code=1)
    assert problem["message"] == "There is no plugin `acmee`. Did you mean `acme`?"


def test_a_mistyped_command_is_told_with_the_one_that_was_meant(cli):
    for arguments, meant in ((("webhoks", "list"), "webhooks"), (("webhooks", "aply"), "apply")):
        result = cli.run(*arguments)
        assert result.exit_code == 2
        assert f"Did you mean '{meant}'?" in result.stderr


def test_a_dry_run_shows_each_field_that_would_change_and_of_secrets_that_they_do(cli):
    cli.apply(a_webhook())
    changed = a_webhook(timeout=5, headers={"Authorization": "Bearer another-secret", "X-New": "a-new-secret-value"})
    found = cli.json("webhooks", "apply", "-", "--plugin", "acme", "--dry-run", text=json.dumps(changed))
    changes = {each["member"]: (each["before"], each["after"]) for each in found["webhooks"][0]["changes"]}
    assert changes == {
        "timeoutMs": (20_000, 5_000),
        "fillableHeaders": (["X-Note"], None),
        "headers.Authorization": ("(hidden)", "changed"),
        "headers.X-New": (None, "(hidden)"),
    }
    shown = cli.run("webhooks", "apply", "-", "--plugin", "acme", "--dry-run", text=json.dumps(changed))
    assert "headers.Authorization" in shown.stdout
    assert "another-secret" not in shown.output + json.dumps(found)
    assert cli.json("webhooks", "show", "ping", "--plugin", "acme")["revision"] == 1


def test_on_a_terminal_a_removal_is_asked_about_and_yes_does_not_ask(cli, terminal):
    cli.apply(a_webhook())
    code, shown = terminal("webhooks", "remove", "ping", "--plugin", "acme", answer="n\n")
    assert code == 1
    assert "Remove webhook ping of plugin acme?" in shown
    assert len(cli.json("webhooks", "list", "--plugin", "acme")) == 1
    code, _ = terminal("webhooks", "remove", "ping", "--plugin", "acme", answer="y\n")
    assert (code, cli.json("webhooks", "list", "--plugin", "acme")) == (0, [])
    cli.apply(a_webhook())
    code, shown = terminal("webhooks", "remove", "ping", "--plugin", "acme", "--yes")
    assert (code, "Remove" in shown) == (0, False)


def test_types_are_written_as_they_are_for_programs_that_read_them(cli):
    cli.apply(a_webhook(), a_webhook(id="inner", hidden=True))
    declared = cli.run("webhooks", "types", "--plugin", "acme")
    assert declared.exit_code == 0
    assert "export function createApi" in declared.stdout
    assert "    ping: {\n" in declared.stdout
    module = cli.run("webhooks", "types", "--plugin", "acme", "--language", "python").stdout
    compile(module, "acme_webhooks.py", "exec")
    assert "Literal['ping']" in module
    assert not [text for text in (SECRET, URL, "inner") if text in declared.stdout + module]
    told = cli.json("webhooks", "types", "--plugin", "acme", "--language", "python")
    assert told == {"plugin": "acme", "language": "python", "text": module}
    assert cli.run("webhooks", "types", "--plugin", "other").exit_code == 2
