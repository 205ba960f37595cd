"""Writes sample calls of the API as programs in three languages, which run as they are printed.

They take their values from the environment: RELAY_API_URL, KEY (an API key), REF (a reference id), REPLAY (the id of
a replay job).
"""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from relay.text.media_types import JSON_TYPE

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Each language by its label, with the name that code blocks use.
LANGUAGES: Final[dict[str, str]] = {"curl": "sh", "Python": "python", "JavaScript": "js"}

_VARIABLE: Final = re.compile(r"\{([A-Z]+)\}")


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample call. In ``path``, ``{REF}`` stands for the value of the environment variable REF."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    keyed: bool = True  # needs an API key
    textual: bool = False  # the answer is not JSON
    handwritten: Mapping[str, str] = field(default_factory=dict)  # language -> a program to use instead

    def programs(self) -> dict[str, str]:
        """Return the program for each language, in the order of ``LANGUAGES``."""
        made = {"curl": self._curl(), "Python": self._python(), "JavaScript": self._javascript()}
        return made | dict(self.handwritten)

    def _all_headers(self) -> dict[str, str]:
        media = {} if self.body is None else {"Content-Type": JSON_TYPE}
        return media | dict(self.headers)

    def _target(self, variable: str) -> str:
        query = f"?{urlencode(self.query)}" if self.query else ""
        return _VARIABLE.sub(lambda found: variable.format(found[1]), self.path) + query

    def _curl(self) -> str:
        method = "" if self.method == ("GET" if self.body is None else "POST") else f" -X {self.method}"
        lines = [f'curl -sS --fail-with-body{method} "$RELAY_API_URL{self._target("${}")}"']
        if self.keyed:
            lines.append('-H "Authorization: Bearer $KEY"')
        lines += [f"-H {shlex.quote(f'{name}: {value}')}" for name, value in self._all_headers().items()]
        if self.body is not None:
            lines.append(f"-d {shlex.quote(json.dumps(self.body))}")
        return " \\\n  ".join(lines)

    def _python(self) -> str:
        headers = [f'"{name}": "{value}"' for name, value in self.headers.items()]
        if self.keyed:
            headers.insert(0, '"Authorization": f"Bearer {os.environ[\'KEY\']}"')
        path = self._target("{{os.environ['{}']}}")
        lines = [
            "import os",
            "",
            "import requests",
            "",
            f"answer = requests.{self.method.lower()}(",
            f'    os.environ["RELAY_API_URL"] + {"f" if "os.environ" in path else ""}"{path}",',
        ]
        if headers:
            lines.append(f"    headers={{{', '.join(headers)}}},")
        if self.body is not None:
            lines.append(f"    json={self.body!r},")
        lines += [
            "    timeout=90,",
            ")",
            "answer.raise_for_status()",
            f"print(answer.{'text' if self.textual else 'json()'})",
        ]
        return "\n".join(lines)

    def _javascript(self) -> str:
        headers = [f'"{name}": "{value}"' for name, value in self._all_headers().items()]
        if self.keyed:
            headers.insert(0, "Authorization: `Bearer ${process.env.KEY}`")
        options = []
        if self.method != "GET":
            options.append(f'  method: "{self.method}",')
        if headers:
            options.append(f"  headers: {{ {', '.join(headers)} }},")
        if self.body is not None:
            options.append(f"  body: JSON.stringify({json.dumps(self.body)}),")
        url = f"`${{process.env.RELAY_API_URL}}{self._target('${{process.env.{}}}')}`"
        lines = [
            *([f"const answer = await fetch({url}, {{", *options, "});"] if options else []),
            *([] if options else [f"const answer = await fetch({url});"]),
            "if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);",
            f"console.log(await answer.{'text' if self.textual else 'json'}());",
        ]
        return "\n".join(lines)
