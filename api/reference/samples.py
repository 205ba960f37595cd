"""Writes sample calls of the API as programs in three languages, which run as they are printed.

They take their values from the environment: RELAY_API_URL, KEY (an API key), REF (a reference id), REPLAY (the id of
a replay job).
"""

from __future__ import annotations

import json
import re
import shlex
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from relay.text.media_types import JSON_TYPE

if TYPE_CHECKING:
    from api.reference.operation import Operation

#: Each language by its label, with the name that code blocks use.
LANGUAGES: Final[dict[str, str]] = {"curl": "sh", "Python": "python", "JavaScript": "js"}

_VARIABLE: Final = re.compile(r"\{([A-Z]+)\}")


def programs_of(operation: Operation) -> dict[str, str]:
    """Return the program for each language, in the order of ``LANGUAGES``."""
    made = {"curl": _curl(operation), "Python": _python(operation), "JavaScript": _javascript(operation)}
    return made | dict(operation.sample.handwritten)


def _all_headers(operation: Operation) -> dict[str, str]:
    media = {} if operation.sample.body is None else {"Content-Type": JSON_TYPE}
    return media | dict(operation.sample.headers)


def _target(operation: Operation, variable: str) -> str:
    path = operation.path.format_map({name: each.sample for name, each in operation.path_parameters})
    query = f"?{urlencode(operation.sample.query)}" if operation.sample.query else ""
    return _VARIABLE.sub(lambda found: variable.format(found[1]), path) + query


def _is_text(operation: Operation) -> bool:
    usual = next(iter(operation.answers.values()))
    return usual.media_type != JSON_TYPE


def _curl(operation: Operation) -> str:
    body = operation.sample.body
    method = "" if operation.method == ("GET" if body is None else "POST") else f" -X {operation.method}"
    lines = [f'curl -sS --fail-with-body{method} "$RELAY_API_URL{_target(operation, "${}")}"']
    if operation.scopes:
        lines.append('-H "Authorization: Bearer $KEY"')
    lines += [f"-H {shlex.quote(f'{name}: {value}')}" for name, value in _all_headers(operation).items()]
    if body is not None:
        lines.append(f"-d {shlex.quote(json.dumps(body))}")
    return " \\\n  ".join(lines)


def _python(operation: Operation) -> str:
    headers = [f'"{name}": "{value}"' for name, value in operation.sample.headers.items()]
    if operation.scopes:
        headers.insert(0, '"Authorization": f"Bearer {os.environ[\'KEY\']}"')
    path = _target(operation, "{{os.environ['{}']}}")
    lines = [
        "import os",
        "",
        "import requests",
        "",
        f"answer = requests.{operation.method.lower()}(",
        f'    os.environ["RELAY_API_URL"] + {"f" if "os.environ" in path else ""}"{path}",',
    ]
    if headers:
        lines.append(f"    headers={{{', '.join(headers)}}},")
    if operation.sample.body is not None:
        lines.append(f"    json={operation.sample.body!r},")
    lines += [
        "    timeout=90,",
        ")",
        "answer.raise_for_status()",
        f"print(answer.{'text' if _is_text(operation) else 'json()'})",
    ]
    return "\n".join(lines)


def _javascript(operation: Operation) -> str:
    headers = [f'"{name}": "{value}"' for name, value in _all_headers(operation).items()]
    if operation.scopes:
        headers.insert(0, "Authorization: `Bearer ${process.env.KEY}`")
    options = []
    if operation.method != "GET":
        options.append(f'  method: "{operation.method}",')
    if headers:
        options.append(f"  headers: {{ {', '.join(headers)} }},")
    if operation.sample.body is not None:
        options.append(f"  body: JSON.stringify({json.dumps(operation.sample.body)}),")
    url = f"`${{process.env.RELAY_API_URL}}{_target(operation, '${{process.env.{}}}')}`"
    lines = [
        *([f"const answer = await fetch({url}, {{", *options, "});"] if options else []),
        *([] if options else [f"const answer = await fetch({url});"]),
        "if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);",
        f"console.log(await answer.{'text' if _is_text(operation) else 'json'}());",
    ]
    return "\n".join(lines)
