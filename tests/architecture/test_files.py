"""Rules about the contents of the project's files."""

from __future__ import annotations

import re

from relay import errors
from relay.domain.invocation import MEANINGS

from .sources import name_of, project_files, text_of

#: Names that exist only on one machine or network, written so that this file does not contain them itself.
FOREIGN = re.compile(
    "|".join(
        [
            r"(?<![\w.-])/(?:work|root|home|Users)" + r"/[a-z]",
            r"python" + r"hosted\.org",
            r"(?:pypi|npmjs|crates)" + r"\.(?:org|com|io)",
            r"index" + r"-url",
        ]
    )
)
BINARY = {".png", ".jpg", ".jpeg", ".gif", ".ico", ".woff2"}


def test_no_file_names_a_machine_s_path_or_a_package_registry():
    texts = {path: text_of(path) for path in project_files() if path.suffix not in BINARY}
    found = {name_of(path): match[0] for path, text in texts.items() if (match := FOREIGN.search(text))}
    assert not found


def codes():
    found = {code for meaning in MEANINGS.values() if (code := meaning.code)}
    stack = [errors.RelayError]
    while stack:
        error = stack.pop()
        stack.extend(error.__subclasses__())
        found.add(error.code)
    return sorted(found)


def test_every_code_is_explained_in_the_documentation():
    page = text_of("docs/errors.md")
    assert [code for code in codes() if f"`{code}`" not in page] == []
