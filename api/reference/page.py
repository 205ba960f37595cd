"""Makes one HTML page of the OpenAPI document, which can be read without a script and loads nothing from elsewhere."""

from __future__ import annotations

import re
from html import escape
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_EXAMPLES: Final = (
    "The examples take their values from the environment: <code>RELAY_API_URL</code> (where this relay is), "
    "<code>KEY</code> (an API key), <code>REF</code> (a reference id), <code>REPLAY</code> (a replay job's id)."
)
_CODE: Final = re.compile(r"`([^`]+)`")
#: What the page's script replaces in examples to fit one of the reader's webhooks, by the member of a trigger.
_OWN: Final = {
    "webhookId": ("order",),
    "data": ('{"hello": "world"}', '{ hello: "world" }', '{"n": 1}', '{"n": 2}', "{'n': 1}", "{'n': 2}"),
    "headers": ('{"X-Locale": "en"}', '{ "X-Locale": "en" }'),
    "queryParams": ('{"lang": "en"}', '{ lang: "en" }'),
}
_MEMBER_OF: Final = {escape(text): member for member, texts in _OWN.items() for text in texts}
_OWN_TEXT: Final = re.compile("|".join(rf"(?<!\w){re.escape(text)}(?!\w)" for text in _MEMBER_OF))
_CHOICE: Final = (
    '<form id="own" hidden><label for="own-key">Examples with a webhook of yours: a key with the scope trigger</label>'
    '<input type="password" id="own-key" placeholder="whk_…" autocomplete="off" spellcheck="false">'
    '<button type="submit">Show my webhooks</button>'
    '<label for="own-webhook" hidden>Webhook</label><select id="own-webhook" hidden></select>'
    '<p id="own-said" role="status"></p></form>'
)


def make_page(document: Mapping[str, Any]) -> str:
    """Return the HTML of the whole page."""
    info, schemas = document["info"], document["components"]["schemas"]
    groups = [(tag, list(each)) for tag, each in groupby(_operations(document), lambda each: each[2]["tags"][0])]
    title = escape(info["title"])
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            '<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<title>{title}</title><link rel="icon" href="console/mark.svg">',
            '<link rel="stylesheet" href="console/tokens.css"><link rel="stylesheet" href="docs/page.css">',
            '<script type="module" src="docs/page.js"></script>',
            '<script type="module" src="docs/own.js"></script></head>',
            '<body><a class="skip" href="#content">Skip to the content</a><div class="frame">',
            f'<header class="side"><div class="brand"><a href="#content">{title}</a>',
            '<span><a href="console">Console</a><a href="openapi.json">openapi.json</a></span></div>',
            '<input type="search" id="search" placeholder="Search (press /)" aria-label="Search"',
            ' autocomplete="off" hidden>',
            '<p id="found" role="status"></p>',
            '<nav aria-label="Contents">',
            *(_contents(tag, map(_link, operations)) for tag, operations in groups),
            _contents("Schemas", map(_schema_link, schemas)),
            "</nav></header>",
            '<main id="content" tabindex="-1">',
            f'<div class="intro"><h1>{title} <small>{escape(info["version"])}</small></h1>',
            f"<p>{_prose(info['description'])}</p><p>{_EXAMPLES}</p>{_CHOICE}</div>",
            *(_group(tag, (_section(*each) for each in operations)) for tag, operations in groups),
            _group("Schemas", (_schema(name, schema) for name, schema in schemas.items())),
            "</main></div></body></html>",
        ]
    )


def _operations(document: Mapping[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """Return path, method and operation of each, grouped by tag."""
    found = [(path, method.upper(), each) for path, item in document["paths"].items() for method, each in item.items()]
    tags = list(dict.fromkeys(each["tags"][0] for _, _, each in found))
    return sorted(found, key=lambda each: tags.index(each[2]["tags"][0]))


def _prose(text: str) -> str:
    return _CODE.sub(r"<code>\1</code>", escape(text))


def _contents(tag: str, links: Iterable[str]) -> str:
    return f"<section><h2>{escape(tag)}</h2><ul>{''.join(links)}</ul></section>"


def _link(operation: tuple[str, str, Mapping[str, Any]]) -> str:
    _, method, said = operation
    return f'<li><a href="#{said["operationId"]}">{_verb(method)} {escape(said["summary"])}</a></li>'


def _schema_link(name: str) -> str:
    return f'<li><a href="#schema-{name}"><code>{name}</code></a></li>'


def _verb(method: str) -> str:
    return f'<span class="verb {method.lower()}">{method}</span>'


def _group(tag: str, articles: Iterable[str]) -> str:
    return "\n".join([f'<section class="group"><h2>{escape(tag)}</h2>', *articles, "</section>"])


def _section(path: str, method: str, operation: Mapping[str, Any]) -> str:
    return "\n".join([f'<article id="{operation["operationId"]}">', *_parts(path, method, operation), "</article>"])


def _parts(path: str, method: str, operation: Mapping[str, Any]) -> Iterator[str]:
    scopes = " or ".join(f"<code>{scope}</code>" for each in operation["security"] for scope in each["key"])
    yield f'<h3><a href="#{operation["operationId"]}">{escape(operation["summary"])}</a></h3>'
    yield f'<p class="route">{_verb(method)} <code>{escape(path)}</code></p>'
    yield f"<p>{_prose(operation['description'])}</p>"
    yield f"<p>Needs a key with the scope {scopes}.</p>" if scopes else "<p>No key is needed.</p>"
    if operation["parameters"]:
        rows = (
            (f"<code>{escape(each['name'])}</code>", each["in"], _prose(each.get("description", "")))
            for each in operation["parameters"]
        )
        yield _table(("parameter", "in", "meaning"), rows)
    for media_type, body in operation.get("requestBody", {}).get("content", {}).items():
        yield f"<p>Body, <code>{media_type}</code>: {_kind(body['schema'])}</p>"
    answers = ((status, _prose(said["description"]), _bodies(said)) for status, said in operation["responses"].items())
    yield _table(("status", "meaning", "body"), answers)
    for number, sample in enumerate(operation["x-codeSamples"]):
        program = f'<pre tabindex="0" data-lang="{sample["lang"]}"><code>{_example(sample["source"])}</code></pre>'
        opening = f"<details{' open' if number == 0 else ''}><summary>{escape(sample['label'])}</summary>"
        yield f"{opening}<div>{program}</div></details>"


def _example(source: str) -> str:
    """Return a program as HTML, with marks around what belongs to a webhook."""
    return _OWN_TEXT.sub(lambda found: f'<span data-own="{_MEMBER_OF[found[0]]}">{found[0]}</span>', escape(source))


def _bodies(said: Mapping[str, Any]) -> str:
    return ", ".join(_kind(body["schema"]) for body in said.get("content", {}).values())


def _schema(name: str, schema: Mapping[str, Any]) -> str:
    required = schema.get("required", ())
    rows = (
        (f"<code>{escape(member)}</code>", _kind(about), "" if member in required else "may be missing", _said(about))
        for member, about in schema["properties"].items()
    )
    table = _table(("member", "type", "presence", "meaning"), rows)
    return f'<article id="schema-{name}"><h3><a href="#schema-{name}">{name}</a></h3>{table}</article>'


def _said(about: Mapping[str, Any]) -> str:
    words = about.get("enum", ())
    return _prose(about.get("description", "")) + "".join(f" <code>{escape(str(word))}</code>" for word in words)


def _kind(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return f'<a href="#schema-{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(_kind(each) for each in schema["anyOf"])
    kinds = schema.get("type", "any JSON")
    text = escape(" or ".join(kinds) if isinstance(kinds, list) else kinds)
    if "items" in schema:
        return f"{text} of {_kind(schema['items'])}"
    return f"{text} ({schema['format']})" if "format" in schema else text


def _table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return an HTML table; the given cells are HTML already."""
    head = "".join(f'<th scope="col">{column}</th>' for column in columns)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="table"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
