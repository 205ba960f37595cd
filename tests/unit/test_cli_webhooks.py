import json

import click
import pytest

from relay.audit.entry import Act, entry_from
from relay.cli.webhook_words import webhook_facts
from relay.cli.webhooks import _ask_to_remove
from relay.store.trail.trail import trails
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


@pytest.mark.parametrize("is_paused", [False, True])
def test_a_removal_ends_the_calls_that_wait_unless_a_chain_uses_the_webhook(cli, is_paused):
    cli.apply(a_webhook(), {"id": "chained", "steps": [{"webhook": "ping"}]})
    if is_paused:
        cli.json("webhooks", "pause", "ping", "--plugin", "acme")
    refs = [cli.json("trigger", "ping", "--plugin", "acme", "--async")["referenceId"] for _ in range(3)]
    refused = cli.json("webhooks", "remove", "ping", "--plugin", "acme", exit_code=1)
    assert (refused["code"], "`chained`" in refused["message"]) == ("conflict", True)
    store = cli.runtime().store
    assert {store.get("acme", ref).state for ref in refs} == {"queued"}
    cli.json("webhooks", "remove", "chained", "--plugin", "acme")
    cli.json("webhooks", "remove", "ping", "--plugin", "acme")
    assert {store.get("acme", ref).state for ref in refs} == {"rejected"}


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


@pytest.mark.parametrize("is_paused", [False, True])
def test_calls_that_wait_end_at_once_when_their_webhook_is_removed(cli, is_paused):
    cli.apply(a_webhook())
    runtime = cli.runtime()
    if is_paused:
        runtime.policies.pause("acme", "ping")
    made = [cli.json("trigger", "ping", "--plugin", "acme", "--async")["referenceId"] for _ in range(2)]
    if is_paused:
        assert runtime.store.claim(made, "t").parked == set(made)
    cli.json("webhooks", "remove", "ping", "--plugin", "acme")
    assert [str(runtime.store.find(each).state) for each in made] == ["rejected"] * 2
    assert runtime.policies.traffic("acme", "ping").parked == 0


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


STILL = {"paused": False, "breaker": "closed", "failures": 0, "openUntil": None, "parked": 0, "running": 0}
PLAIN = {
    "id": "ping",
    "plugin": "acme",
    "revision": 3,
    "description": None,
    "createdAt": "2026-11-30T23:59:58.123Z",
    "chain": False,
    "method": "POST",
    "url": URL,
    "encoding": "json",
    "fixedData": None,
    "headers": {},
    "queryParams": [],
    "pathParams": {},
    "steps": None,
    "result": None,
    "dataSchema": None,
    "responseSchema": None,
    "credentials": [],
    "signingSecrets": 0,
    "secrets": [],
    "callback": None,
    "timeout": 20,
    "repeatable": False,
    "retry": None,
    "concurrency": None,
    "rate": None,
    "hidden": False,
    "revealUrl": False,
    "traffic": STILL,
}
CHAIN = {"chain": True, "method": None, "url": None, "steps": [{"webhook": "a"}], "repeatable": True}
RETRY = {"attempts": 5, "initial": 0.5, "factor": 3, "maximum": 60}
AGAIN, ONCE = "even if it is not known whether it was received", "never once it may have been received"
OF_PLAIN = {
    "webhook": "ping of plugin acme, revision 3",
    "registered": "2026-11-30 23:59:58 UTC",
    "sends": f"POST {URL}",
    "data as": "JSON",
    "timeout": "20 s",
    "repeated": f"only by replays; {ONCE}",
    "shown to plugins": "yes",
    "address in answers": "masked",
    "now": "0 being sent, 0 waiting for room",
}
#: What differs from a plain webhook, and the words that differ then; None for a line that is not there.
FACTS = [
    ({}, {}),
    ({"description": "Pings."}, {"description": "Pings."}),
    ({"encoding": "form"}, {"data as": "a form"}),
    ({"encoding": "multipart"}, {"data as": "multipart/form-data"}),
    ({"encoding": "base64"}, {"data as": "the bytes of base64 text"}),
    ({"fixedData": {"a": "[redacted]", "b": 1}}, {"data with": ["a", "b"]}),
    ({"headers": {"A": "pre-filled", "B": "fillable"}}, {"headers": ["A: pre-filled", "B: fillable"]}),
    ({"queryParams": ["page"]}, {"parameters": ["page"]}),
    ({"pathParams": {"id": {"pattern": "[0-9]+"}}}, {"in the path": ["id: [0-9]+"]}),
    *(({"dataSchema": each}, {"data has to fit": "yes (shown with --output json)"}) for each in ({}, True, False)),
    *(({"responseSchema": each}, {"answer has to fit": "yes (shown with --output json)"}) for each in ({}, False)),
    ({"credentials": [{"type": "basic"}]}, {"authenticates by": ["basic"]}),
    ({"credentials": [{"type": "basic"}, {"type": "mtls"}]}, {"authenticates by": ["basic", "mtls"]}),
    ({"credentials": [{"type": "oauth2", "grant": "jwt_bearer"}]}, {"authenticates by": ["oauth2 (jwt_bearer)"]}),
    ({"signingSecrets": 2}, {"authenticates by": ["a signature"]}),
    ({"credentials": [{"type": "mtls"}], "signingSecrets": 1}, {"authenticates by": ["mtls", "a signature"]}),
    ({"secrets": ["KEY"]}, {"secrets": ["KEY"]}),
    ({"callback": "told"}, {"callback": "told"}),
    ({"repeatable": True}, {"repeated": f"only by replays; {AGAIN}"}),
    (
        {"retry": RETRY},
        {
            "repeated": f"5 attempts in all, after 0.5 s, then 3 times as long, at most 60 s; on the usual statuses; {ONCE}"
        },
    ),
    (
        {"retry": RETRY | {"statuses": [429, 500]}, "repeatable": True},
        {"repeated": f"5 attempts in all, after 0.5 s, then 3 times as long, at most 60 s; on 429, 500; {AGAIN}"},
    ),
    ({"concurrency": 7}, {"limits": ["7 at once"]}),
    ({"rate": "5/s"}, {"limits": ["5/s"]}),
    ({"concurrency": 7, "rate": "5/s"}, {"limits": ["7 at once", "5/s"]}),
    ({"hidden": True}, {"shown to plugins": "no: only chains, callbacks and alerts reach it"}),
    ({"revealUrl": True}, {"address in answers": "shown"}),
    (
        CHAIN | {"result": "steps[0].data"},
        {
            "sends": "its steps, one after the other",
            "data as": None,
            "repeated": None,
            "steps": ["0. a"],
            "result": "steps[0].data",
        },
    ),
    ({"traffic": STILL | {"running": 2, "parked": 3}}, {"now": "2 being sent, 3 waiting for room"}),
    ({"traffic": STILL | {"paused": True}}, {"now": "paused; 0 being sent, 0 waiting for room"}),
    (
        {
            "traffic": STILL
            | {"breaker": "open", "failures": 9, "openUntil": "2026-12-01T00:00:01.000Z", "paused": True}
        },
        {
            "now": "breaker open until 2026-12-01 00:00:01 UTC, 9 failures in a row; paused; "
            "0 being sent, 0 waiting for room"
        },
    ),
    (
        {"traffic": STILL | {"breaker": "half-open", "failures": 9}},
        {"now": "breaker half-open, 9 failures in a row; 0 being sent, 0 waiting for room"},
    ),
]


@pytest.mark.parametrize(("changes", "words"), FACTS, ids=[str(changes)[:40] for changes, _ in FACTS])
def test_each_member_of_a_webhook_is_said_in_words_and_nothing_of_those_that_it_lacks(changes, words):
    said = {name: each if isinstance(each, list) else str(each) for name, each in webhook_facts(PLAIN | changes)}
    assert said == {name: each for name, each in (OF_PLAIN | words).items() if each is not None}


@pytest.mark.parametrize("is_paused", [False, True])
def test_a_list_says_what_is_held_back_or_hidden(cli, is_paused):
    cli.apply(
        a_webhook(), a_webhook(id="inner", hidden=True, method="PUT"), {"id": "all", "steps": [{"webhook": "ping"}]}
    )
    if is_paused:
        for webhook in ("ping", "inner"):
            cli.json("webhooks", "pause", webhook, "--plugin", "acme")
    rows = {row["id"]: row for row in cli.json("webhooks", "list", "--plugin", "acme")}
    assert {name: (row["method"], row["chain"], row["hidden"], row["paused"]) for name, row in rows.items()} == {
        "all": (None, True, False, False),
        "inner": ("PUT", False, True, is_paused),
        "ping": ("POST", False, False, is_paused),
    }
    table = cli.run("webhooks", "list", "--plugin", "acme").stdout
    assert [words for words in ("chain", "PUT", "hidden") if words not in table] == []
    assert table.count("paused") == 2 * is_paused


@pytest.mark.parametrize(("parked", "running"), [(0, 0), (2, 0), (0, 1), (2, 1)])
def test_whoever_removes_a_webhook_is_told_how_many_calls_have_not_ended(cli, monkeypatch, parked, running):
    cli.apply(a_webhook(concurrency=max(running, 1)))
    runtime = cli.runtime()
    refs = [cli.json("trigger", "ping", "--plugin", "acme", "--async")["referenceId"] for _ in range(parked + running)]
    if refs and not running:
        cli.json("webhooks", "pause", "ping", "--plugin", "acme")
    runtime.store.claim(refs, "t")
    asked = []
    monkeypatch.setattr("click.confirm", lambda text, **_: asked.append(text))
    with click.Context(click.Command("remove"), obj=cli.directory):
        _ask_to_remove(runtime, "acme", "ping")
    waiting = f" {parked + running} of its calls have not ended." if refs else ""
    assert asked == [f"Remove webhook ping of plugin acme?{waiting}"]


def test_people_are_told_what_an_apply_did_or_would_do(cli):
    def apply(*more, **changes):
        text = json.dumps([a_webhook(headers={"X-Key": "short"}, **changes), a_webhook(id="pong")])
        done = cli.run("webhooks", "apply", "-", "--plugin", "acme", *more, text=text)
        rows = [line.split() for line in done.stdout.splitlines()]
        return [row for row in rows if row[:1] in (["ping"], ["pong"]) and len(row) == 3], done.stderr.splitlines()

    warning = "Warning: ping: The value of X-Key is shorter than 8 characters: it cannot be masked in answers."
    new, would = "Plugin acme is new: it was created.", "Plugin acme is new: it would be created."
    created = [["ping", "1", "created"], ["pong", "1", "created"]]
    assert apply("--dry-run") == (created, [warning, would, "Dry run: nothing was stored."])
    assert apply() == (created, [warning, new])
    assert apply(timeout=5) == ([["ping", "2", "changed"], ["pong", "1", "unchanged"]], [warning])
    cli.json("webhooks", "remove", "ping", "--plugin", "acme")
    assert apply()[0] == [["ping", "3", "created"], ["pong", "1", "unchanged"]]


WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
#: What `relay webhooks show` has of a webhook that says no more than it must, and of a chain.
OF_ANY = {
    "plugin": "acme",
    "revision": 1,
    "chain": False,
    "queryParams": [],
    "pathParams": {},
    "encoding": "json",
    "hidden": False,
    "timeout": 20,
    "idempotent": False,
    "revealUrl": False,
    "description": None,
    "retry": None,
    "concurrency": None,
    "rate": None,
    "repeatable": False,
    "callback": None,
    "secrets": [],
    "headers": {},
    "dataSchema": None,
    "responseSchema": None,
    "auth": [],
    "credentials": [],
    "signingSecrets": 0,
    "fixedData": None,
    "steps": None,
    "result": None,
    "traffic": STILL,
}
SHOWN = [
    ({"id": "told", "url": "https://a.example.com/t", "method": "POST"}, {"url": "https://a.example.com/t", "method": "POST"}),
    (
        a_webhook(
            id="full", url="https://a.example.com/{id}?key=planted-key-value", method="PUT", pathParams={"id": {"pattern": "[0-9]+"}},
            dataSchema={"type": "object"}, responseSchema=True, hidden=True, timeout=2.5, revealUrl=True, description="Sends.",
            retry={"attempts": 3, "statuses": [503]}, concurrency=7, rate="5/s", callback="told", signing=[WHSEC],
            headers={"Content-Type": "application/x-www-form-urlencoded", "X-Note": None}, fixedData={"key": SECRET, "n": 5},
            auth={"type": "oauth2", "tokenUrl": "https://login.example.com/t?planted=1", "clientId": "c", "clientSecret": SECRET, "scope": "s"},
        ),
        {
            "url": "https://a.example.com/{id}?key=[redacted]", "method": "PUT", "pathParams": {"id": {"pattern": "[0-9]+"}},
            "dataSchema": {"type": "object"}, "responseSchema": True, "hidden": True, "timeout": 2.5, "revealUrl": True,
            "description": "Sends.", "concurrency": 7, "rate": "5/s", "callback": "told", "signingSecrets": 1,
            "retry": {"attempts": 3, "initial": 1, "factor": 2, "maximum": 300, "statuses": [503]}, "encoding": "form",
            "headers": {"Content-Type": "pre-filled", "X-Note": "fillable"}, "queryParams": ["page"], "repeatable": True,
            "fixedData": {"key": "[redacted]", "n": "[redacted]"}, "auth": ["oauth2"],
            "credentials": [{"type": "oauth2", "tokenUrl": "https://login.example.com/t", "scope": "s", "audience": None}],
        },
    ),
    (
        {
            "id": "chained", "result": "steps[0].data", "headers": {"X-Note": None}, "timeout": 60,
            "steps": [{"webhook": "told", "data": "input.data", "onError": "continue"}, {"webhook": "told"}],
        },
        {
            "chain": True, "method": None, "url": None, "repeatable": True, "result": "steps[0].data", "timeout": 60,
            "headers": {"X-Note": "fillable"},
            "steps": [
                {"webhook": "told", "data": "input.data", "onError": "continue"},
                {"webhook": "told", "onError": "stop"},
            ],
        },
    ),
]  # fmt: skip


@pytest.mark.parametrize("output", ["json", "table"])
def test_all_of_a_webhook_is_shown_but_its_secrets(cli, output):
    cli.apply(*(webhook for webhook, _ in SHOWN))
    for webhook, expected in SHOWN:
        if output == "json":
            shown = cli.json("webhooks", "show", webhook["id"], "--plugin", "acme")
            assert shown.pop("createdAt")
            assert shown == OF_ANY | {"id": webhook["id"]} | expected
        else:
            text = cli.run("webhooks", "show", webhook["id"], "--plugin", "acme").stdout
            assert f"{webhook['id']} of plugin acme, revision 1" in text
            assert not [secret for secret in (SECRET, "planted", WHSEC) if secret in text]


@pytest.mark.parametrize("is_dry", [False, True])
def test_the_audit_trail_has_an_apply_and_a_dry_run_as_what_they_were(cli, is_dry):
    more = ["--dry-run"] if is_dry else []
    text = json.dumps([a_webhook(), a_webhook(id="pong")])
    cli.json("webhooks", "apply", "-", "--plugin", "acme", *more, text=text)
    runtime = cli.runtime()
    found = [entry_from(raw) for each in trails(runtime.client, runtime.keyspace) for _, raw in each.after(0)]
    applies = [(each.plugin, each.outcome, each.count or 1) for each in found if each.act == Act.WEBHOOK_APPLY]
    assert applies == ([("acme", "dry_run", 2)] if is_dry else [("acme", "created", 1)] * 2)
