import base64
import hashlib

import pytest

from relay.cli.explain import PREVIEW_BYTES
from tests.unit.cli import SECRET, URL, a_webhook


def explain(cli, *arguments, exit_code=0, **options):
    return cli.json("explain", "ping", "--plugin", "acme", *arguments, exit_code=exit_code, **options)


def test_the_outgoing_request_is_shown_with_its_secrets_masked(cli):
    cli.apply(a_webhook())
    shown = explain(cli, "--data", '{"a": [1]}', "--header", "x-note=hi", "--query", "page=a b&c")
    assert (shown["method"], shown["url"]) == ("POST", f"{URL}?page=a%20b%26c")
    assert shown["headers"]["Authorization"] == "[redacted]"
    assert shown["headers"]["X-Note"] == "hi"
    assert shown["headers"]["Host"] == "planted.example.com"
    assert shown["headers"]["Content-Type"] == "application/json"
    assert shown["body"] == {
        "bytes": 9,
        "sha256": hashlib.sha256(b'{"a":[1]}').hexdigest(),
        "encoding": "text",
        "preview": '{"a":[1]}',
        "complete": True,
    }


@pytest.mark.parametrize("form", ["json", "table"])
def test_no_pre_filled_value_is_shown(cli, form):
    cli.apply(a_webhook(url=f"{URL}?key=planted-key-value"))
    result = cli.run("explain", "ping", "--plugin", "acme", "--output", form)
    assert result.exit_code == 0
    assert SECRET.split()[1] not in result.output
    assert "planted-key-value" not in result.output
    assert "[redacted]" in result.output


def test_nothing_is_sent_and_nothing_recorded(cli):
    cli.apply(a_webhook())
    explain(cli)
    assert cli.json("invocations", "list", "--plugin", "acme") == []


def test_bytes_are_shown_as_base64_with_their_size_and_hash(cli):
    cli.apply(a_webhook(payload_encoding="base64", headers={"Content-Type": "image/jpeg"}))
    raw = b"\xff\xd8\xff\x00" * 10
    shown = explain(cli, "--data", f'"{base64.b64encode(raw).decode()}"')
    assert shown["headers"]["Content-Type"] == "image/jpeg"
    assert shown["body"]["encoding"] == "base64"
    assert base64.b64decode(shown["body"]["preview"]) == raw


def test_a_long_body_is_cut_between_characters_and_says_so(cli):
    cli.apply(a_webhook())
    shown = explain(cli, "--data", "-", text='"' + "x" + "é" * 5000 + '"')
    assert shown["body"]["bytes"] == 10_001
    assert shown["body"]["complete"] is False
    assert shown["body"]["preview"].startswith("xéé")
    assert "\ufffd" not in shown["body"]["preview"]


@pytest.mark.parametrize("before", range(4))
@pytest.mark.parametrize("character", ["é", "\u20ac", "\U0001f600"], ids=len)
def test_a_long_body_is_text_wherever_it_is_cut(cli, before, character):
    size = len(character.encode())
    cli.apply(a_webhook())
    text = "x" * before + character * PREVIEW_BYTES
    body = explain(cli, "--data", "-", text=f'"{text}"')["body"]
    shown = before + (PREVIEW_BYTES - before) // size
    assert (body["encoding"], body["complete"], body["preview"]) == ("text", False, text[:shown])


@pytest.mark.parametrize("raw", [
    b"x" * (PREVIEW_BYTES - 4) + b"\xf0xxx" + b"x", b"x" * (PREVIEW_BYTES - 1) + b"\xf0", b"\xf0" + b"x" * PREVIEW_BYTES,
], ids=["no character before the cut", "half a character at the end", "no character at the beginning"])  # fmt: skip
def test_a_body_that_is_no_text_is_shown_as_base64_however_long_it_is(cli, raw):
    cli.apply(a_webhook(payload_encoding="base64", headers={"Content-Type": "image/jpeg"}))
    body = explain(cli, "--data", "-", text=f'"{base64.b64encode(raw).decode()}"')["body"]
    assert (body["encoding"], body["complete"]) == ("base64", len(raw) == PREVIEW_BYTES)
    assert base64.b64decode(body["preview"]) == raw[:PREVIEW_BYTES]


@pytest.mark.parametrize(("length", "end"), [(PREVIEW_BYTES, "xx"), (PREVIEW_BYTES + 1, "x...")])
def test_people_see_whether_a_body_is_shown_whole(cli, length, end):
    cli.apply(a_webhook())
    shown = cli.run("explain", "ping", "--plugin", "acme", "--data", "-", text=f'"{"x" * length}"').stdout
    assert shown.replace("\n", "").rstrip().endswith(end)


def test_a_trigger_that_does_not_fit_fails_with_its_faults(cli):
    cli.apply(a_webhook())
    problem = explain(cli, "--query", "other=1", exit_code=1)
    assert problem["code"] == "request_rejected"
    assert problem["errors"]
    assert problem["referenceId"] is None


def test_a_hidden_webhook_is_explained_to_operators_and_an_unknown_one_is_not_registered(cli):
    cli.apply(a_webhook(hidden=True))
    assert explain(cli)["method"] == "POST"
    result = cli.json("explain", "other", "--plugin", "acme", exit_code=1)
    assert result["code"] == "webhook_not_registered"
