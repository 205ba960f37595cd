"""The OpenAPI document as one page for people: no script, nothing that is loaded from elsewhere."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from html import escape
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_STYLE: Final = (resources.files("api.reference") / "page.css").read_text("utf-8")
_STYLE_HASH: Final = b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
#: The page may use its own style, and nothing else.
PAGE_HEADERS: Final = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
}
_EXAMPLES: Final = (
    "The examples take their values from the environment: <code>RELAY_API_URL</code> (where this relay is), "
    "<code>KEY</code> (an API key), <code>REF</code> (a reference id), <code>REPLAY</code> (a replay job's id). "
    'For programs: <a href="openapi.json">openapi.json</a>.'
)
_CODE: Final = re.compile(r"`([^`]+)`")


def make_page(document: Mapping[str, Any]) -> str:
    """The whole page."""
    info, operations = document["info"], list(_operations(document))
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            '<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(info['title'])}</title>",
            f"<style>{_STYLE}</style></head>",
            "<body>",
            f"<header><h1>{escape(info['title'])} <small>{escape(info['version'])}</small></h1>",
            f"<p>{_prose(info['description'])}</p>",
            f"<p>{_EXAMPLES}</p></header>",
            f"<nav><ul>{''.join(_link(operation) for _, _, operation in operations)}</ul></nav>",
            "<main>",
            *(_section(method, path, operation) for path, method, operation in operations),
            "<h2>Schemas</h2>",
            *(_schema(name, schema) for name, schema in document["components"]["schemas"].items()),
            "</main></body></html>",
        ]
    )


def _operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield path, method.upper(), operation


def _prose(text: str) -> str:
    return _CODE.sub(r"<code>\1</code>", escape(text))


def _link(operation: Mapping[str, Any]) -> str:
    return f'<li><a href="#{operation["operationId"]}">{escape(operation["summary"])}</a></li>'


def _section(method: str, path: str, operation: Mapping[str, Any]) -> str:
    scopes = " or ".join(f"<code>{scope}</code>" for each in operation["security"] for scope in each["key"])
    parts = [
        f'<section id="{operation["operationId"]}"><h2>{escape(operation["summary"])}</h2>',
        f'<p class="route"><b>{method}</b> <code>{escape(path)}</code></p>',
        f"<p>{_prose(operation['description'])}</p>",
        f"<p>A key with the scope {scopes}.</p>" if scopes else "<p>No key is needed.</p>",
    ]
    if operation["parameters"]:
        rows = (
            (f"<code>{escape(each['name'])}</code>", each["in"], _prose(each.get("description", "")))
            for each in operation["parameters"]
        )
        parts.append(_table(("parameter", "in", "meaning"), rows))
    for media_type, body in operation.get("requestBody", {}).get("content", {}).items():
        parts.append(f"<p>Body, <code>{media_type}</code>: {_kind(body['schema'])}</p>")
    answers = ((status, _prose(said["description"]), _bodies(said)) for status, said in operation["responses"].items())
    parts.append(_table(("status", "meaning", "body"), answers))
    parts += [
        f"<details{' open' if number == 0 else ''}><summary>{escape(sample['label'])}</summary>"
        f'<pre><code class="language-{sample["lang"]}">{escape(sample["source"])}</code></pre></details>'
        for number, sample in enumerate(operation["x-codeSamples"])
    ]
    return "\n".join([*parts, "</section>"])


def _bodies(said: Mapping[str, Any]) -> str:
    return ", ".join(_kind(body["schema"]) for body in said.get("content", {}).values())


def _schema(name: str, schema: Mapping[str, Any]) -> str:
    required = schema.get("required", ())
    rows = (
        (f"<code>{escape(member)}</code>", _kind(about), "" if member in required else "may be missing", _said(about))
        for member, about in schema["properties"].items()
    )
    return f'<h3 id="schema-{name}">{name}</h3>{_table(("member", "type", "", "meaning"), rows)}'


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
    """A table of cells that are HTML already."""
    head = "".join(f"<th>{column}</th>" for column in columns)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
