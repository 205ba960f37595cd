"""Texts that people paste by mistake instead of a document are recognised, and named in one line with the place."""

import time

import pytest

from relay.egress import AddressPolicy
from relay.errors import DocumentError
from relay.registration.document import read_registrations
from relay.registration.endpoint import EndpointRules
from relay.text.mistakes import SMART_QUOTES
from relay.text.object_text import scan

REST = 'url: "https://a.vendor.com/", method: "GET"'


def faults_of(text):
    with pytest.raises(DocumentError) as error:
        read_registrations(text, EndpointRules(AddressPolicy()), plugin="acme")
    return error.value.faults


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("{id: \u201cping\u201d,\n" + REST + "}", 1, "typographic"),
        ('{id: "ping",\nurl: \u2018https://a.vendor.com/\u2019, method: \u201cGET\u201d}', 2, "typographic"),
        ("{\u201cid\u201d: \u201cit\u2019s\u201d}", 1, "typographic"),
        *((f"{{id: {quote}ping{quote}, {REST}}}", 1, "typographic") for quote in SMART_QUOTES),
        ("# ours\n{id: 'ping', " + REST + "}", 1, "use `//`"),
        ("{id: 'ping', # it's ours\n" + REST + "}", 1, "use `//`"),
        ("const x = {id: 'ping', " + REST + "};", 1, "leave out `const x =`"),
        ("export default [{id: 'ping', " + REST + "}]", 1, "leave out `const x =`"),
        ("module.exports = {id: 'ping', " + REST + "}", 1, "leave out `const x =`"),
        *(
            (f"{before} {{id: 'ping', {REST}}}", 1, "leave out `const x =`")
            for before in ("let x =", "var x =", "return", "type X =", "function f()", "import x from './x'")
        ),
        ("{id: 'ping', " + REST + "};", 1, "semicolon"),
        ("[{id: 'ping', " + REST + "}];", 1, "semicolon"),
        ("id: ping\nurl: https://a.vendor.com/\nheaders:\n  X-Note: it's\n", 1, "YAML"),
        ("---\nwebhooks:\n  - id: ping\n", 1, "YAML"),
        ("- id: ping\n  url: https://a.vendor.com/\n", 1, "YAML"),
        ('"id": "ping",\n"method": "GET"', 1, "YAML"),
        ("id : ping\nmethod : GET\n", 1, "YAML"),
        ("{id: 'ping',\nurl: {{base}}, method: 'GET'}", 2, "templates"),
        *(
            (f"{quote}{{\n{quote}  id: 'ping',\n{quote}\n{quote}  {REST}\n{quote}}}", 1, "mails quote lines")
            for quote in ("> ", ">", ">> ", "> > ", "  > ")
        ),
        (f"{{id: 'ping',\n> {REST}}}", 2, "mails quote lines"),
        *(
            (f"{greeting}\n\n{{id: 'ping', {REST}}}", 1, "text before the first `{`")
            for greeting in (
                "Hi Ann",
                "Here's the one we need.",
                '"Please" register',
                "On Monday Bob wrote:\n> Hi",
                "Dear all,",
            )
        ),
        (f"Hi\n[{{id: 'ping', {REST}}}]", 1, "text before the first `[`"),
        *(
            (f"{{id: 'ping',\n{REST}}}\n{after}", 3, "text after the last `}`")
            for after in ("Thanks,\nAnn", "That's all", "-- \nAnn Lee", "Best regards: Ann")
        ),
        (f"[{{id: 'ping', {REST}}}]\nThanks", 2, "text after the last `}`"),
        (f"{{id: 'ping',\n{REST}}}\nand\n{{id: 'pong', {REST}}}", 3, "text between two webhooks"),
        *((f"{fence}\n{{id: 'ping', {REST}}}\n{fence}", 1, "Markdown fence") for fence in ("```", "~~~")),
        (f"```json\n{{id: 'ping', {REST}}}\n```", 1, "Markdown fence"),
        (f"{{id: 'ping', {REST}}}\n```\n", 2, "Markdown fence"),
        (f"{{id: 'ping',\n hidden: True, {REST}}}", 2, "`True` is Python: write `true`"),
        (f"{{id: 'ping',\n hidden: False, {REST}}}", 2, "`False` is Python: write `false`"),
        (f"{{id: 'ping',\n headers: {{'X-A': None}}, {REST}}}", 2, "`None` is Python: write `null`"),
        (f"{{id: 'ping', {REST},\n headers: {{200: 'x'}}}}", 2, "this name needs quotes"),
        (f"{{id: 'ping', {REST},\n headers: {{Content-Type: 'x'}}}}", 2, "this name needs quotes"),
    ],
)
def test_a_known_habit_is_the_one_fault(text, line, said):
    (fault,) = faults_of(text)
    assert said in fault.message
    assert fault.line == line
    assert len(str(fault)) < 200


@pytest.mark.parametrize(
    "text",
    [
        "{id: '> ``` True'}\n// Thanks",
        "{id: 'a“b', url: '# const x = ---', method: '{{'}",
        "// const # “\n{id: 1}",
        "{note: 'a;'}",
    ],
)
def test_what_stands_within_texts_and_comments_is_nobodys_habit(text):
    assert scan(text).flaws == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{id: 'a', headers: {} and, url: 'b'}", "a comma is missing before this"),
        ("{id: 'a'; url: 'b'}", "a comma is missing before this"),
        ("{ {id: 'a'} }", "a member's name or `}` must come next"),
    ],
)
def test_what_only_resembles_a_habit_is_the_fault_that_it_is(text, said):
    assert [flaw.message for flaw in scan(text).flaws] == [said]


@pytest.mark.parametrize("text", ["hook", "Hi Ann", "// nothing\nhook"])
def test_words_that_stand_before_no_webhook_are_as_wrong_as_any(text):
    assert "a string needs quotes" in faults_of(text)[0].message


@pytest.mark.parametrize("after", ["# x", "\u201cx\u201d", "};", "{{x}}"])
def test_behind_what_cannot_be_read_there_is_no_habit(after):
    (fault,) = faults_of("{id: 'ping', note: \"not closed,\n" + after)
    assert (fault.message, fault.line) == ("a string is not closed on its line", 1)


@pytest.mark.parametrize("member", ["url", "headers/Authorization", "auth/password", "signing"])
def test_a_template_is_refused_with_the_reason_and_the_value_is_not_quoted(member):
    values = {"url": "https://a.vendor.com/{{patient}}", "headers/Authorization": "Bearer {{patient}}",
              "auth/password": "{{patient}}-long", "signing": "{{patient}}"}  # fmt: skip
    name, _, inner = member.partition("/")
    value = (
        f'{{"type": "basic", "username": "me", "password": "{values[member]}"}}'
        if name == "auth"
        else f'"{values[member]}"'
    )
    text = f"{{id: 'ping', {REST}}}" if name != "url" else f"{{id: 'ping', method: 'GET', url: {value}}}"
    if name != "url":
        shown = f"{{'{inner}': {value}}}" if name == "headers" else value
        text = text[:-1] + f", {name}: {shown}}}"
    (fault,) = faults_of(text)
    assert fault.pointer == f"/{member}"
    assert "fills in no templates" in fault.message
    assert "patient" not in fault.message


def test_a_user_in_the_url_is_pointed_to_auth_and_plain_http_to_its_setting():
    (fault,) = faults_of("{id: 'ping', method: 'GET', url: 'https://user:secret-word@a.vendor.com/'}")
    assert "`auth`" in fault.message
    assert "secret-word" not in fault.message
    (fault,) = faults_of("{id: 'ping', method: 'GET', url: 'http://a.vendor.com/'}")
    assert "RELAY_EGRESS_ALLOW" in fault.message


@pytest.mark.parametrize(
    ("text", "pointer", "meant"),
    [
        (f"{{id: 'ping', {REST}, query_params: []}}", "/query_params", "queryParams"),
        (f"{{id: 'ping', {REST}, Header: {{}}}}", "/Header", "headers"),
        (f"{{id: 'ping', {REST}, retry: {{attempts: 2, intial: 1}}}}", "/retry/intial", "initial"),
        (
            f"{{id: 'ping', {REST}, auth: {{type: 'basic', username: 'u', password: 'pppppppp', user: 1}}}}",
            "/auth/user",
            "username",
        ),
        ("{id: 'ping', steps: [{webhook: 'a', foreach: '`[1]`'}]}", "/steps/0/foreach", "forEach"),
        (f"{{pluginn: 'acme', webhooks: [{{id: 'ping', {REST}}}]}}", "/pluginn", "plugin"),
    ],
)
def test_an_unknown_field_comes_with_the_one_that_was_meant(text, pointer, meant):
    (fault,) = faults_of(text)
    assert fault.pointer == pointer
    assert fault.message.endswith(f"did you mean `{meant}`?")


@pytest.mark.parametrize(
    "text",
    [
        "x " + "> " * 200_000,
        "{}" * 100_000 + "\nand",
        "/*" * 200_000,
        "{" * 200_000,
        "#" * 400_000,
        "\u201c" * 400_000,
        "- " * 200_000,
    ],
)
def test_to_recognise_a_habit_takes_linear_time(text):
    begin = time.perf_counter()
    assert scan(text).flaws
    assert time.perf_counter() - begin < 10


@pytest.mark.parametrize("text", ["{id: >a}", "{id: 'a', size: > 5}", "[{id: 'a'}, >b]", "{id: 'a' >b: 1}"])
def test_a_mark_in_the_middle_of_a_line_is_none_of_a_mail(text):
    assert scan(text).flaws
    assert not [flaw for flaw in scan(text).flaws if "mails" in flaw.message]
